/*
 * guard.h
 *		Which positions a transaction may write into a log.
 */
#ifndef PM_GUARD_H
#define PM_GUARD_H

#include "utils/relcache.h"

/* The guard's objects on a log's table. */
#define GUARD_WRITE_TRIGGER	   "pm_before_write"
#define GUARD_UPDATE_TRIGGER   "pm_before_update"
#define GUARD_TRUNCATE_TRIGGER "pm_before_truncate"
#define GUARD_CHECK			   "pm_position_is_new"

/* A transaction with one of these flags writes no log: guard_enter() sees to it. */
#define GUARD_NEVER_WRITES (PROC_IS_AUTOVACUUM | PROC_IN_VACUUM | PROC_IN_SAFE_IC)

extern void guard_install(void);
extern void guard_enter(Relation rel);
extern void guard_drawn(Oid relid, int64 position);
extern void guard_read_up_to(Oid relid, int64 mark);
extern bool guard_own_floor(Oid relid, int64 *floor);
extern bool guard_has_check(Relation rel);
extern const char *guard_missing(Relation rel);
extern bool guard_has_any(Relation rel);
extern void guard_take_off(Oid relid);
extern void guard_adopt(Oid relid);
extern void guard_put_back(Oid relid, AttrNumber attnum);
extern const char *guard_qualified_name(Oid relid);
extern char *guard_hint(Oid relid, Oid seqid, AttrNumber attnum, int64 used, bool set_back);

#endif /* PM_GUARD_H */
