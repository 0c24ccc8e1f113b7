/*
 * version.h
 *		The version of the extension in this database, and whether the library serves
 *		it.
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

extern void version_install(void);

extern VersionFit version_fit(const char *installed);
extern char *version_installed(void);

/*
 * Is the extension of this version or a later one?  The answer comes from memory and costs
 * nothing.
 */
extern bool version_has(const char *since);

/* To be called when the extension has been created or updated. */
extern void version_changed(void);

/*
 * Raise an error: for a feature that is too new for the extension, and for versions
 * that do not fit together.
 */
extern void version_require(const char *since, const char *feature);
extern void version_require_served(void);

#endif /* PM_VERSION_H */
