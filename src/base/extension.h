/*
 * extension.h
 *		The schemas of the extension.
 */
#ifndef PM_EXTENSION_H
#define PM_EXTENSION_H

extern void extension_install(void);

/* One of the extension's schemas; InvalidOid where the extension does not exist. */
extern Oid extension_schema(const char *name);

#endif /* PM_EXTENSION_H */
