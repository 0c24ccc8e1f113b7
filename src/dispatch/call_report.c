/*
 * call_report.c
 *		What calls of a handler tell others: counters, pg_stat_activity, the server's log.
 *
 * The text of the activity takes longer to make than a fast handler runs.  So it names the
 * first item of a batch, and then each item that follows a call of a millisecond or more.
 * pm.worker shows each item.
 */
#include "pm.h"

#include "pgstat.h"
#include "utils/builtins.h"

#include "base/report.h"
#include "dispatch/call_report.h"
#include "dispatch/item_key.h"
#include "shmem/slot.h"
#include "shmem/stat.h"

/* Bytes of a key that are logged. */
#define CALL_REPORT_KEY 200

void
call_report_activity(const BatchTask *task, const CallTimes *times, const BatchItem *item)
{
	const char *manager = task->pm->name;
	int lane = task->lane;
	char text[NAMEDATALEN + HANDLING_LOG_NAME + 128];

	/* In a session, the activity is the client's query. */
	if (!slot_am_worker())
		return;
	if (item->log_name == NULL)
		snprintf(text, sizeof(text), "process manager \"%s\", lane %d: handles a timer", manager,
				 lane);
	else if (times->calls == 0)
		snprintf(text, sizeof(text),
				 "process manager \"%s\", lane %d: handles log \"%s\" from position %lld on",
				 manager, lane, item->log_name, (long long) item->position);
	else
		snprintf(text, sizeof(text),
				 "process manager \"%s\", lane %d: handles log \"%s\" at position %lld", manager,
				 lane, item->log_name, (long long) item->position);
	pgstat_report_activity(STATE_RUNNING, text);
}

/*
 * The key: the item's, or the stream if the key is not known yet; NULL if there is none.
 */
static const char *
call_report_key(const BatchItem *item)
{
	NullableDatum stream;

	if (item->key != NULL)
		return report_cut(item->key->name, CALL_REPORT_KEY);
	stream = item_key_stream(item);
	return stream.isnull ? NULL : report_cut(TextDatumGetCString(stream.value), CALL_REPORT_KEY);
}

/*
 * To be used among the arguments of ereport().
 */
static int
call_report_errmsg(const BatchTask *task, const CallTimes *times, const BatchItem *item, int count)
{
	const char *manager = task->pm->name;
	const char *database = report_database();
	double ms = (double) times->last / 1000;
	const char *key = call_report_key(item);

	if (count > 1)
		return errmsg("process manager \"%s\" in database \"%s\": the handler took %.3f ms for "
					  "%d events up to position %lld of log \"%s\"",
					  manager, database, ms, count, (long long) item->position, item->log_name);
	if (item->log_name == NULL)
		return errmsg("process manager \"%s\" in database \"%s\": the handler took %.3f ms for "
					  "a timer, key \"%s\"",
					  manager, database, ms, key != NULL ? key : "");
	if (key == NULL)
		return errmsg("process manager \"%s\" in database \"%s\": the handler took %.3f ms at "
					  "position %lld of log \"%s\"",
					  manager, database, ms, (long long) item->position, item->log_name);
	return errmsg("process manager \"%s\" in database \"%s\": the handler took %.3f ms at "
				  "position %lld of log \"%s\", key \"%s\"",
				  manager, database, ms, (long long) item->position, item->log_name, key);
}

void
call_report_slow(const BatchTask *task, const CallTimes *times, const BatchItem *item, int count)
{
	/* The context would repeat it, with more than is to be logged. */
	if (report_may(task->pm->owner, REPORT_SLOW))
		ereport(LOG, (call_report_errmsg(task, times, item, count), errhidecontext(true)));
}

void
call_report_count(const BatchTask *task, const CallTimes *times, int handled)
{
	StatCounts counts = {.events = handled,
						 .calls = times->calls,
						 .batches = 1,
						 .total_time = times->total,
						 .max_time = times->longest};

	if (handled > 0)
		stat_count(task->pm->name, task->lane, task->pm->owner, &counts);
}
