/*
 * call_report.h
 *		What calls of a handler tell others: counters, pg_stat_activity, the server's log.
 */
#ifndef PM_CALL_REPORT_H
#define PM_CALL_REPORT_H

#include "base/guc.h"
#include "dispatch/batch_item.h"
#include "dispatch/batch_task.h"
#include "manager/handler_watch.h"

/* After a call that took this long, the text of the activity names the next item, in us. */
#define CALL_REPORT_LONG 1000

/* Should the activity name the item that is about to be handled? */
static inline bool
call_report_is_due(const CallTimes *times)
{
	return times->calls == 0 || times->last >= CALL_REPORT_LONG;
}

/* In a worker: shows the item in pg_stat_activity. */
extern void call_report_activity(const BatchTask *task, const CallTimes *times,
								 const BatchItem *item);

/* Must the call that has just returned be logged (pm.log_min_duration)? */
static inline bool
call_report_is_slow(const CallTimes *times)
{
	return unlikely(guc_log_min_duration >= 0) &&
		   times->last >= guc_log_min_duration * INT64CONST(1000);
}

/* Logs that the last call, for this item or for several up to it, was slow. */
extern void call_report_slow(const BatchTask *task, const CallTimes *times, const BatchItem *item,
							 int count);

/* Counts the calls of a batch that has handled this many items (stat.c). */
extern void call_report_count(const BatchTask *task, const CallTimes *times, int handled);

#endif /* PM_CALL_REPORT_H */
