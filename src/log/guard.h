/*
 * guard.h
 *		Which positions a transaction may write into a log.
 */
#ifndef PM_GUARD_H
#define PM_GUARD_H

#include "utils/relcache.h"

/* A transaction with one of these flags writes no log: guard_enter() sees to it. */
#define GUARD_NEVER_WRITES (PROC_IS_AUTOVACUUM | PROC_IN_VACUUM | PROC_IN_SAFE_IC)

extern void guard_install(void);
extern void guard_enter(Relation rel);
extern void guard_drawn(Oid relid, int64 position);
extern void guard_read_up_to(Oid relid, int64 mark);
extern bool guard_own_floor(Oid relid, int64 *floor);

#endif /* PM_GUARD_H */
