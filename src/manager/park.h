/*
 * park.h
 *		Parks events: sets them aside because they failed, or because an earlier
 *		event of their key did.
 */
#ifndef PM_PARK_H
#define PM_PARK_H

#include "log/log_trouble.h"
#include "manager/lane.h"
#include "manager/park_rows.h"
#include "manager/registry.h"
#include "shmem/handling.h"

/* Parks an event of a key that has a queue. */
extern void park_behind(ParkRows *rows, const char *key, Datum event, int64 too_large);
/* Parks an event of a key that has none, to be tried at once. */
extern void park_untried(ParkRows *rows, const char *key, Datum event, int64 too_large);
/*
 * Parks an event that has failed, or is deferred, as the head of its key, which has no
 * queue.  Returns whether it counts among the keys that fail in a row.
 */
extern bool park_failed(ParkRows *rows, const char *key, Datum event, int64 too_large, int attempts,
						int crashes, ErrorData *error, const Failure *failure);
/* Parks a timer that has failed, or is deferred. */
extern void park_failed_timer(ProcessManager *pm, int lane, const char *key, Datum event,
							  int attempts, int crashes, ErrorData *error, const Failure *failure);
/* Records that a parked event has failed once more.  False if it is gone. */
extern bool park_failed_again(ProcessManager *pm, const Handling *what, ErrorData *error,
							  int crashed, const Failure *failure);
/* Tries a parked event later, without counting an attempt, for "patience" ms at most. */
extern bool park_postpone(ProcessManager *pm, int lane, int64 id, TimestampTz until, int patience);
/* Tries a parked event later, because its log cannot be read now.  Not counted as an attempt. */
extern void park_unreadable(ProcessManager *pm, int lane, int64 id, TimestampTz until,
							const LogTrouble *trouble);
/* Can an event be parked without a key?  Nothing waits behind it. */
extern bool park_may_without_key(void);
/* Is it known, without counting, that another key may be parked after this many more rows? */
extern bool park_has_room(ProcessManager *pm, int lane, int more);
/* Why no further key may be parked, as a reason to halt; NULL if one may. */
extern char *park_refused(ProcessManager *pm, LaneState *state, int lane, FailureKind kind);

#endif /* PM_PARK_H */
