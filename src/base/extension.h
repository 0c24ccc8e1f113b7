/*
 * extension.h
 *		The schemas of the extension.
 */
#ifndef PM_EXTENSION_H
#define PM_EXTENSION_H

extern void extension_install(void);
extern Oid extension_schema(const char *name);

#endif /* PM_EXTENSION_H */
