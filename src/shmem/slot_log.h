/*
 * slot_log.h
 *		Which log has which slot in shared memory.
 *
 * Each function is about logs of this session's database, unless it takes a
 * database as an argument.
 */
#ifndef PM_SLOT_LOG_H
#define PM_SLOT_LOG_H

#include "nodes/pg_list.h"

#include "shmem/slot_ref.h"

/*
 * Finds the slot of a log; with "create" it gets one, which needs a transaction.
 * There is no slot when all are taken, or when the library is not preloaded.
 */
extern void slot_log_ref(Oid relid, bool create, LogRef *ref);

/* Is it still the slot of the same log? */
extern bool slot_log_valid(const LogRef *ref);

/* Take back the slots of logs that are gone. */
extern void slot_log_forget(Oid relid);
extern void slot_log_forget_database(Oid database);
extern void slot_log_sweep(List *relids);

#endif /* PM_SLOT_LOG_H */
