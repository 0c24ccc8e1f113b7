/*
 * notice.h
 *		What the server's log says once about a database.
 */
#ifndef PM_NOTICE_H
#define PM_NOTICE_H

#include "base/version.h"

/* Says whether the library serves the extension.  Needs a transaction. */
extern void notice_version(const char *installed, VersionFit fit);

/* Says how many process managers wait for pm.resume(), because the database is a copy. */
extern void notice_copies(int count);

#endif /* PM_NOTICE_H */
