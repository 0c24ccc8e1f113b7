/*
 * status_log.c
 *		Functions about logs for pm.status and pm.blocker.
 *
 * They return the mark, what holds it back, and what is wrong with a log.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "log/highwater_ask.h"
#include "log/log_index.h"
#include "log/log_index_ask.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "log/sequence.h"
#include "manager/status.h"
#include "shmem/slot_interest.h"
#include "shmem/slot_log.h"
#include "shmem/slot_mark.h"

PG_FUNCTION_INFO_V1(pm_status_log);
PG_FUNCTION_INFO_V1(pm_status_denied);
PG_FUNCTION_INFO_V1(pm_status_holders);
PG_FUNCTION_INFO_V1(pm_status_oldest);
PG_FUNCTION_INFO_V1(pm_status_events);

/*
 * May the caller know about the log?
 */
static bool
status_log_may_see(PmLog *log)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || log_may_select(log, GetUserId());
}

/* What pm_catalog.log_state() has found out about a log. */
#define STATUS_LOG_COLUMNS 5
typedef struct StatusLog
{
	char name[LOG_MAX_NAME]; /* hash key */
	Datum values[STATUS_LOG_COLUMNS];
	bool nulls[STATUS_LOG_COLUMNS];
} StatusLog;

static void
status_log_problem(StatusLog *state, const char *problem, const char *hint)
{
	state->values[2] = CStringGetTextDatum(problem);
	state->nulls[2] = false;
	state->nulls[3] = hint == NULL;
	if (hint != NULL)
		state->values[3] = CStringGetTextDatum(hint);
}

/*
 * Was the log's sequence set back?  Readers notice that its last value is below
 * what they have seen.  If no reader has looked yet, an event above the last
 * value shows it.  Such an event may also have been appended in between, so the
 * last value is read once more.  If a worker waits for the log (watched), it looks
 * whenever a writer has ended.
 */
static bool
status_log_set_back(PmLog *log, bool watched, Highwater *mark)
{
	int64 position;
	bool known;

	if (mark->status == HIGHWATER_REWOUND)
		return true;
	if (watched || mark->status == HIGHWATER_UNKNOWN ||
		!log_index_last(log, mark->last, &position, &known))
		return false;
	*mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);
	mark->reached = Max(mark->reached, position);
	return mark->status != HIGHWATER_UNKNOWN && mark->last < position;
}

/*
 * What holds the mark back?  "standby": only transactions that have committed
 * and wait for a synchronous standby.  "prepared": only prepared transactions.
 * "writer": other transactions, too.
 */
static const char *
status_log_held_by(Oid relid)
{
	VirtualTransactionId *holders;
	int count;
	int standby = 0;
	int prepared = 0;

	holders = highwater_writers(relid, &count);
	for (int i = 0; i < count; i++)
	{
		int pid = status_session(holders[i]);
		PGPROC *proc = pid == 0 ? NULL : BackendPidGetProc(pid);

		if (pid == 0)
			prepared++;
		else if (proc != NULL && status_wait_event(proc) == WAIT_EVENT_SYNC_REP)
			standby++;
	}
	if (count == 0)
		return NULL;
	return standby == count ? "standby" : prepared == count ? "prepared" : "writer";
}

/*
 * The mark of a log that can be relied on.
 */
static void
status_log_mark(StatusLog *state, PmLog *log)
{
	/* This must be known before the mark is computed, which is a look, too. */
	bool watched = slot_interest_any(log->relid);
	Highwater mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);
	bool set_back = status_log_set_back(log, watched, &mark);
	const char *held_by;

	if (mark.status == HIGHWATER_UNKNOWN)
	{
		status_log_problem(state,
						   log->partitioned && log->kind == LOG_ATTACHED ?
							   psprintf("a partition of log \"%s\", or its sequence, is locked",
										log->name) :
							   psprintf("the sequence of log \"%s\" is locked", log->name),
						   "SELECT * FROM pm.blocker shows which session holds the lock.");
		return;
	}
	state->nulls[0] = state->nulls[1] = false;
	state->values[0] = Int64GetDatum(mark.mark);
	state->values[1] = Int64GetDatum(mark.last);
	if (set_back)
	{
		LogTrouble trouble;

		log_trouble_rewound(&trouble, log, mark.last, mark.reached);
		status_log_problem(state, trouble.message, trouble.hint);
	}
	/* Without positions above the mark, nothing waits for the transactions. */
	held_by = mark.status == HIGHWATER_HELD ? status_log_held_by(log->relid) : NULL;
	state->nulls[4] = held_by == NULL;
	if (held_by != NULL)
		state->values[4] = CStringGetTextDatum(held_by);
}

/*
 * Fills in what is known about a log.
 */
static void
status_log_look(StatusLog *state, const char *name)
{
	bool locked;
	PmLog *log = log_open_nowait(name, &locked);
	LogTrouble trouble;

	memset(state->nulls, true, sizeof(state->nulls));
	if (log == NULL)
	{
		status_log_problem(state, locked ? "the log's table is locked" : "the log does not exist",
						   locked ? "SELECT * FROM pm.blocker shows which session holds the lock." :
									"Run pm.unfollow to stop following it.");
		return;
	}
	if (*log->table != '\0' && !status_log_may_see(log))
		/* the caller may not know anything about it */;
	else if (log->problem != NULL)
		status_log_problem(state, log->problem, log->hint);
	/* The mark of a log with a problem must not get into shared memory. */
	else if (!RecoveryInProgress())
	{
		status_log_mark(state, log);
		if (state->nulls[2] && !log_index_exists(log))
		{
			log_trouble_no_index(&trouble, log);
			status_log_problem(state, trouble.message, trouble.hint);
		}
	}
	UnlockRelationOid(log->relid, AccessShareLock);
}

/*
 * What is known about a log in this query.  Many process managers may follow
 * the same log, but each log is read only once for each query.
 */
static StatusLog *
status_log_get(FmgrInfo *flinfo, const char *name)
{
	StatusLog *state;

	if (flinfo->fn_extra == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = LOG_MAX_NAME;
		ctl.entrysize = sizeof(StatusLog);
		ctl.hcxt = flinfo->fn_mcxt;
		flinfo->fn_extra = hash_create("pm log states", 64, &ctl,
									   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	state = hash_search(flinfo->fn_extra, name, HASH_FIND, NULL);
	if (state == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
		StatusLog fresh;

		/* This may raise an error, so the entry is made only when it is complete. */
		status_log_look(&fresh, name);
		state = hash_search(flinfo->fn_extra, name, HASH_ENTER, NULL);
		memcpy(state->values, fresh.values, sizeof(fresh.values));
		memcpy(state->nulls, fresh.nulls, sizeof(fresh.nulls));
		MemoryContextSwitchTo(old);
	}
	return state;
}

/*
 * pm_catalog.log_state(log): high_water_mark, last_position, problem, hint,
 * held_by
 */
Datum
pm_status_log(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StatusLog *state;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	/* No log has such a long name.  Cut it, so that it can be a key of the hash table. */
	if (strlen(name) >= LOG_MAX_NAME)
		name[LOG_MAX_NAME - 1] = '\0';
	state = status_log_get(fcinfo->flinfo, name);
	status_put(fcinfo, state->values, state->nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.log_denied(log, reader): problem, hint; the right that a role lacks
 * to read the log
 */
Datum
pm_status_denied(PG_FUNCTION_ARGS)
{
	bool locked;
	PmLog *log = log_get_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	Oid reader = PG_GETARG_OID(1);
	LogTrouble trouble;
	Datum values[2];
	bool nulls[2] = {false, false};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (log == NULL || log->problem != NULL ||
		!(has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		  has_privs_of_role(GetUserId(), reader)) ||
		!log_trouble_rights(&trouble, log, reader))
		return (Datum) 0;
	values[0] = CStringGetTextDatum(trouble.message);
	values[1] = CStringGetTextDatum(trouble.hint);
	status_put(fcinfo, values, nulls);
	return (Datum) 0;
}

/*
 * pm_catalog.mark_holders(log): virtualtransaction, pid (NULL: it is prepared);
 * the transactions that hold the mark back
 */
Datum
pm_status_holders(PG_FUNCTION_ARGS)
{
	bool locked;
	PmLog *log = log_get_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	VirtualTransactionId *holders;
	int count;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (log == NULL || log->problem != NULL || RecoveryInProgress() || !status_log_may_see(log))
		return (Datum) 0;
	holders = highwater_writers(log->relid, &count);
	for (int i = 0; i < count; i++)
		status_put_transaction(fcinfo, holders[i], status_session(holders[i]));
	return (Datum) 0;
}

/*
 * May the log have events above the position?  Most often it has none, and then its index
 * need not be opened.  If the sequence was set back, there can be events above its last
 * value, up to the highest one that readers have seen.
 */
static bool
status_log_goes_on(PmLog *log, int64 position)
{
	LogRef slot;
	int64 last;
	int64 mark;
	int64 reached;

	if (!sequence_look(log->seqid, &last))
		return true;
	slot_log_ref(log->relid, false, &slot);
	if (slot_mark_read(&slot, &mark, &reached))
		last = Max(last, reached);
	return last > position;
}

/*
 * pm_catalog.oldest_unhandled(log, position): when the first event above the
 * position was recorded
 */
Datum
pm_status_oldest(PG_FUNCTION_ARGS)
{
	bool locked;
	bool found = false;
	PmLog *log = log_open_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	TimestampTz recorded_at;

	if (log != NULL)
	{
		found = log->problem == NULL && status_log_may_see(log) &&
				status_log_goes_on(log, PG_GETARG_INT64(1)) &&
				log_index_first(log, PG_GETARG_INT64(1), &recorded_at);
		UnlockRelationOid(log->relid, AccessShareLock);
	}
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(recorded_at);
}

/* How many events are counted above one position, and above all positions in one query. */
#define STATUS_LOG_COUNTED	   1000
#define STATUS_LOG_COUNTED_ALL 200000

/*
 * pm_catalog.events_after(log, position): how many events the log has above the position;
 * NULL if this query has counted many already
 */
Datum
pm_status_events(PG_FUNCTION_ARGS)
{
	FmgrInfo *flinfo = fcinfo->flinfo;
	int *left = flinfo->fn_extra;
	bool locked;
	int count = -1;
	PmLog *log;

	if (left == NULL)
	{
		left = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(int));
		*left = STATUS_LOG_COUNTED_ALL;
		flinfo->fn_extra = left;
	}
	log = *left <= 0 ? NULL : log_open_nowait(text_to_cstring(PG_GETARG_TEXT_PP(0)), &locked);
	if (log != NULL)
	{
		if (log->problem == NULL && status_log_may_see(log))
			count = log_index_count(log, PG_GETARG_INT64(1), STATUS_LOG_COUNTED);
		UnlockRelationOid(log->relid, AccessShareLock);
	}
	if (count < 0)
		PG_RETURN_NULL();
	*left -= count;
	PG_RETURN_INT64(count);
}
