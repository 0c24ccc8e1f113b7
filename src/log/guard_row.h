/*
 * guard_row.h
 *		The guard of the partitions of a log.
 */
#ifndef PM_GUARD_ROW_H
#define PM_GUARD_ROW_H

#include "postgres_ext.h"

/* Makes the table of leaves; called once, when the library is loaded. */
extern void guard_row_install(void);
/*
 * The next row that is inserted into this log may have this version: pm.append has found that it
 * is the next one of its stream, which it has locked.
 */
extern void guard_row_expect(Oid root, int64 version);
/* Forgets that, if no row came. */
extern void guard_row_expect_none(void);

#endif /* PM_GUARD_ROW_H */
