/*
 * version.h
 *		The version of the extension in this database, beside the library's.
 */
#ifndef PM_VERSION_H
#define PM_VERSION_H

typedef enum VersionFit
{
	VERSION_SAME,	 /* the extension and the library are of one version */
	VERSION_OLDER,	 /* the extension is older, and served all the same */
	VERSION_TOO_OLD, /* older than what the library serves */
	VERSION_NEWER	 /* the library is the older one */
} VersionFit;

extern VersionFit version_fit(const char *installed);
extern char *version_installed(void);
extern void version_require(const char *since, const char *feature);

#endif /* PM_VERSION_H */
