/*
 * wait_for.c
 *		pm.wait_for: waits until a process manager has handled what is there now.
 *
 * "What is there" is every position that has been drawn by the time of the call,
 * also by writers that are still open: the caller's own event may come after
 * theirs, and is not handled before they have ended.  The caller needs only
 * SELECT on the logs.  If the wait could never end, an error is raised at once.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "manager/cursor.h"
#include "shmem/slot.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_wait_for);

#define WAIT_NAP	   100	 /* between two checks, ms */
#define WAIT_NAP_ALONE 10	 /* without shared memory, where nothing wakes this session, ms */
#define WAIT_FOREVER   36500 /* a timeout of more days than this means no timeout */
#define WAIT_LOCKED	   PG_INT64_MIN /* no position: the log is locked */

/*
 * Has every lane reached the target?  Raises an error if a lane has halted
 * before it.
 */
static bool
wait_reached(const char *name, const char *log, int64 target)
{
	static ExecStatement look =
		{NULL,
		 "SELECT c.position OPERATOR(pg_catalog.>=) $3, l.state OPERATOR(pg_catalog.=) 'halted', "
		 "l.reason FROM pm_catalog.cursor c JOIN pm_catalog.lane l "
		 "ON l.process_manager OPERATOR(pg_catalog.=) c.process_manager "
		 "AND l.lane OPERATOR(pg_catalog.=) c.lane "
		 "WHERE c.process_manager OPERATOR(pg_catalog.=) $1 AND c.log OPERATOR(pg_catalog.=) $2",
		 3,
		 {TEXTOID, TEXTOID, INT8OID}};
	ExecScope scope;
	Datum values[3];
	bool reached = true;
	bool isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(target);
	if (exec_statement(&look, values, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("process manager \"%s\" does not follow log \"%s\"", name, log)));
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		if (DatumGetBool(exec_value(row, 1, &isnull)))
			continue;
		reached = false;
		if (DatumGetBool(exec_value(row, 2, &isnull)))
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("process manager \"%s\" has halted", name),
							errdetail("The reason is: %s.", exec_text(row, 3)),
							errhint("Its owner ends that with pm.resume.")));
	}
	exec_end(&scope);
	return reached;
}

/*
 * Is no event at or below the target parked?  An event that goes to many keys may be
 * parked for some of them without any failure, and is handled soon.  One that has failed,
 * or waits for another one that has, raises an error.
 */
static bool
wait_none_parked(const char *name, const char *log, int64 target)
{
	static ExecStatement any_parked =
		{NULL,
		 "SELECT FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND log OPERATOR(pg_catalog.=) $2 AND position OPERATOR(pg_catalog.<=) $3 LIMIT 1",
		 3,
		 {TEXTOID, TEXTOID, INT8OID}};
	/* The state of an event's head; an event that has no key has no other before it. */
	static ExecStatement oldest_parked =
		{NULL,
		 "SELECT k.position FROM pm_catalog.parked k LEFT JOIN LATERAL ("
		 "SELECT f.state, f.message FROM pm_catalog.parked f "
		 "WHERE f.process_manager OPERATOR(pg_catalog.=) k.process_manager "
		 "AND f.lane OPERATOR(pg_catalog.=) k.lane AND f.key OPERATOR(pg_catalog.=) k.key "
		 "ORDER BY f.id LIMIT 1) h ON true "
		 "WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND k.log OPERATOR(pg_catalog.=) $2 AND k.position OPERATOR(pg_catalog.<=) $3 "
		 "AND (coalesce(h.message, k.message) IS NOT NULL "
		 "OR coalesce(h.state, k.state) OPERATOR(pg_catalog.<>) 'failing') "
		 "ORDER BY k.position LIMIT 1",
		 3,
		 {TEXTOID, TEXTOID, INT8OID}};
	ExecScope scope;
	Datum values[3];
	bool none;
	bool isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(target);
	none = exec_statement(&any_parked, values, NULL) == 0;
	if (!none && exec_statement(&oldest_parked, values, NULL) > 0)
	{
		long long position = DatumGetInt64(exec_value(0, 1, &isnull));

		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("process manager \"%s\" has parked the event at position %lld of log \"%s\"",
					name, position, log),
			 errhint("Its owner sees in pm.parked whether and when it is tried again. "
					 "SELECT pm.retry(%s, %s, %lld) tries it now.",
					 quote_literal_cstr(name), quote_literal_cstr(log), position)));
	}
	exec_end(&scope);
	return none;
}

static void
wait_nap(long ms)
{
	static uint32 event;

	if (slot_preloaded())
	{
		wakeup_wait_moved(Min(ms, WAIT_NAP), compat_wait_event(&event, "PmWaitFor"));
		return;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(ms, WAIT_NAP_ALONE), compat_wait_event(&event, "PmWaitFor"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Returns when a timeout that begins now ends.  That may be later than the
 * latest timestamp.
 */
static TimestampTz
wait_deadline(Interval *timeout)
{
	double days = timeout->month * (double) DAYS_PER_MONTH + timeout->day +
				  timeout->time / (double) USECS_PER_DAY;
	TimestampTz now = GetCurrentTimestamp();

	if (days > WAIT_FOREVER)
		return DT_NOEND;
	if (days <= 0)
		return now;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(now),
												   IntervalPGetDatum(timeout)));
}

/*
 * Returns how much of the time is left, in ms; without a timeout, always more
 * than 0.
 */
static long
wait_left(TimestampTz until)
{
	return TIMESTAMP_IS_NOEND(until) ?
			   WAIT_NAP :
			   TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
}

/*
 * Opens a log that the caller may read, and waits if it is locked; NULL when the
 * time is up.
 */
static PmLog *
wait_open(const char *name, TimestampTz until)
{
	Oid relid;
	char *found = log_find(name, &relid, false);
	PmLog *log;
	bool locked;

	log_require_right(found, relid, GetUserId());
	while ((log = log_open_nowait(found, &locked)) == NULL)
	{
		long left = wait_left(until);

		if (!locked)
			return log_get(found, false);
		if (left <= 0)
			return NULL;
		wait_nap(left);
	}
	/*
	 * The wait may be long, so release the lock: the table's owner can change the table
	 * meanwhile.
	 */
	UnlockRelationOid(log->relid, AccessShareLock);
	return log;
}

/*
 * Returns the position up to which a log must be handled: the given one or, if
 * none is given, the last one drawn.  WAIT_LOCKED if the time is up before that is
 * known.  The log's name is replaced by the one in the catalog.
 */
static int64
wait_target(char **name, const int64 *up_to, TimestampTz until)
{
	PmLog *log = wait_open(*name, until);
	Highwater mark;

	if (log == NULL)
		return WAIT_LOCKED;
	log_require_select(log, GetUserId());
	log_require_whole(log);
	if (highwater_self_writes(log->relid))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot wait for log \"%s\", which this transaction has written to",
							   log->name),
						errdetail("Nobody handles its events before it commits."),
						errhint("Commit first, or handle them here with pm.catch_up.")));
	*name = pstrdup(log->name);
	if (up_to != NULL)
		return Max(*up_to, WAIT_LOCKED + 1);
	mark = highwater_known(log->relid, log->seqid, HIGHWATER_EVERYBODY, *name);
	if (mark.status == HIGHWATER_REWOUND)
	{
		LogTrouble trouble;

		log_trouble_rewound(&trouble, log, mark.last, mark.reached);
		log_trouble_raise(&trouble);
	}
	return mark.last;
}

/*
 * Waits until a log is handled up to the target.  False when the time is up.
 */
static bool
wait_log(const char *name, const char *log, int64 target, TimestampTz until)
{
	bool reached;

	/* Do this before the first check, so that no move between a check and the sleep is missed. */
	wakeup_prepare_to_wait();
	/* A cursor also passes parked events, which have not been handled. */
	while (!(reached = wait_reached(name, log, target) && wait_none_parked(name, log, target)))
	{
		long left = wait_left(until);

		if (left <= 0)
			break;
		wait_nap(left);
	}
	ConditionVariableCancelSleep();
	return reached;
}

/*
 * pm.wait_for(name, log, up_to, timeout)
 */
Datum
pm_wait_for(PG_FUNCTION_ARGS)
{
	char *name;
	ProcessManager *pm;
	List *names = NIL;
	ListCell *lc;
	TimestampTz until;
	int64 *targets;
	int64 up_to = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);

	highwater_require_fresh_snapshots("pm.wait_for");
	argument_not_null(fcinfo, 0, "name");
	argument_not_null(fcinfo, 3, "timeout");
	if (PG_ARGISNULL(1) && !PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("up_to needs a log"),
						errhint("A position belongs to a log: name the log too.")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pm = registry_get(name, false);
	within_refuse(name);
	until = wait_deadline(PG_GETARG_INTERVAL_P(3));
	if (PG_ARGISNULL(1))
		names = pm->logs;
	else
		names = list_make1(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	/* Compute all targets first, so that positions drawn during the wait are not waited for. */
	targets = palloc(sizeof(int64) * list_length(names));
	foreach(lc, names)
	{
		char *log = lfirst(lc);

		targets[foreach_current_index(lc)] = wait_target(&log, PG_ARGISNULL(2) ? NULL : &up_to,
														 until);
		if (targets[foreach_current_index(lc)] == WAIT_LOCKED)
			PG_RETURN_BOOL(false);
		lfirst(lc) = log;
	}
	foreach(lc, names)
		if (!wait_log(name, lfirst(lc), targets[foreach_current_index(lc)], until))
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}
