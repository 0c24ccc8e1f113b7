/*
 * park.c
 *		Parks events: sets them aside because they failed, or because an earlier
 *		event of their key did.
 *
 * A parked event is a row of pm_catalog.parked, in the queue of its key
 * (park_queue.c).  The row refers to the event by its log and position, and the event
 * is read from the log when it is tried again (park_event.c).  A timer is in the row
 * itself, because it has no log.  The number of its failures decides whether an event
 * is tried again or is dead.  When many keys fail in a row, the cause is not an event,
 * and the process manager is halted instead.
 *
 * Assumes that the caller holds the unit's lock, as park_queue.c does.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/exec.h"
#include "base/report.h"
#include "base/version.h"
#include "manager/head.h"
#include "manager/lane_fail.h"
#include "manager/park.h"
#include "manager/park_queue.h"
#include "shmem/handling.h"
#include "shmem/wakeup.h"

/*
 * When this many keys fail in a row, and nothing is handled in between, the process
 * manager halts.
 */
#define PARK_IN_A_ROW 20

static const ParkVerdict park_verdict_behind = {"behind", 0, 0, DT_NOEND};
static const ParkVerdict park_verdict_untried = {"failing", 0, 0, DT_NOBEGIN};

/*
 * One crash of the server does not count against an event, since a person may
 * have killed its dispatcher: the event is tried again at once, alone.  After
 * two crashes the event is dead, and a person must decide.
 */
static ParkVerdict
park_judge(ProcessManager *pm, int attempts, int crashes, bool crash, const Failure *failure)
{
	ParkVerdict verdict = {"failing", attempts, crashes, DT_NOBEGIN};
	bool permanent = failure->kind == FAILURE_PERMANENT;

	if (failure->kind == FAILURE_DEFERRED)
	{
		verdict.state = "deferred";
		verdict.retry_at = failure->until;
	}
	else if (crash ? crashes >= 2 : permanent || attempts >= pm->max_attempts)
	{
		verdict.state = "dead";
		verdict.retry_at = DT_NOEND;
	}
	else if (!crash)
		verdict.retry_at = failure->until != 0 ? failure->until : lane_retry_at(pm, attempts);
	return verdict;
}

/*
 * An older extension has a key in each row.
 */
bool
park_may_without_key(void)
{
	return version_has("0.2.0");
}

void
park_behind(ParkRows *rows, const char *key, Datum event, int64 too_large)
{
	park_rows_add(rows, key, event, too_large, &park_verdict_behind, NULL);
}

void
park_untried(ParkRows *rows, const char *key, Datum event, int64 too_large)
{
	park_rows_add(rows, key, event, too_large, &park_verdict_untried, NULL);
}

/*
 * Writes to the server's log, once, that an event is dead.
 */
static void
park_say_dead(ProcessManager *pm, const char *log, int64 position, const char *key, int attempts,
			  ErrorData *error)
{
	const char *message = report_cut(error->message, REPORT_LOGGED);

	if (!report_may(pm->owner, REPORT_OUTCOME))
		return;
	ereport(LOG,
			(log != NULL ?
				 errmsg("process manager \"%s\" in database \"%s\": the event at position %lld "
						"of log \"%s\" is dead: %s",
						pm->name, report_database(), (long long) position, log, message) :
				 errmsg("process manager \"%s\" in database \"%s\": a timer of key \"%s\" "
						"is dead: %s",
						pm->name, report_database(), key, message),
			 errdetail_log_plural("It has failed %d time.", "It has failed %d times.", attempts,
								  attempts),
			 errhint("pm.retry retries it, pm.discard discards it.")));
}

bool
park_failed(ParkRows *rows, const char *key, Datum event, int64 too_large, int attempts,
			int crashes, ErrorData *error, const Failure *failure)
{
	ProcessManager *pm = rows->pm;
	ParkVerdict verdict = park_judge(pm, attempts, crashes, crashes > 0, failure);

	park_rows_add(rows, key, event, too_large, &verdict, error);
	if (TIMESTAMP_IS_NOEND(verdict.retry_at))
	{
		EventFields fields;

		event_deform(event, &fields);
		if (fields.nulls[EVENT_LOG - 1])
			park_say_dead(pm, NULL, 0, key, attempts, error);
		else
			park_say_dead(pm, TextDatumGetCString(fields.values[EVENT_LOG - 1]),
						  DatumGetInt64(fields.values[EVENT_POSITION - 1]), key, attempts, error);
	}
	/*
	 * If the server crashed while it handled an event, the handler need not be the cause.
	 * A handler that says that the event cannot be handled is not broken.
	 */
	return crashes == 0 && failure->kind == FAILURE_ORDINARY;
}

void
park_failed_timer(ProcessManager *pm, int lane, const char *key, Datum event, int attempts,
				  int crashes, ErrorData *error, const Failure *failure)
{
	Key known = {.name = key};
	ParkRows *rows = park_rows_now(pm, lane);

	/* An event of the key may have been parked since the timer failed. */
	if (park_has(pm, lane, &known))
	{
		ParkVerdict verdict = park_verdict_behind;

		verdict.attempts = attempts;
		verdict.crashes = crashes;
		park_rows_add(rows, key, event, 0, &verdict, error);
	}
	else if (park_failed(rows, key, event, 0, attempts, crashes, error, failure))
		lane_in_a_row(pm->name, lane, 1, true);
}

/*
 * Writes into a parked event's row how it has failed.
 */
static void
park_update(int64 id, const ParkVerdict *verdict, ErrorData *error)
{
	static ExecStatement update_parked =
		{NULL,
		 "UPDATE pm_catalog.parked SET state = $2, attempts = $3, crashes = $4, retry_at = $5, "
		 "message = $6, detail = $7, context = $8, sqlstate = $9, error_hint = $10 "
		 "WHERE id OPERATOR(pg_catalog.=) $1",
		 10,
		 {INT8OID, TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		  TEXTOID}};
	/* Version 0.1.0 of the extension keeps no hint. */
	static ExecStatement update_older =
		{NULL,
		 "UPDATE pm_catalog.parked SET state = $2, attempts = $3, crashes = $4, retry_at = $5, "
		 "message = $6, detail = $7, context = $8, sqlstate = $9 "
		 "WHERE id OPERATOR(pg_catalog.=) $1",
		 9,
		 {INT8OID, TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}};
	Datum values[10];
	char nulls[10];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(verdict->state);
	values[2] = Int32GetDatum(verdict->attempts);
	values[3] = Int32GetDatum(verdict->crashes);
	values[4] = TimestampTzGetDatum(verdict->retry_at);
	nulls[4] = TIMESTAMP_IS_NOEND(verdict->retry_at) ? 'n' : ' ';
	exec_error_args(error, &values[5], &nulls[5]);
	values[9] = exec_text_arg(error ? report_cut(error->hint, REPORT_KEPT) : NULL, &nulls[9]);
	exec_statement(version_has("0.2.0") ? &update_parked : &update_older, values, nulls);
}

bool
park_failed_again(ProcessManager *pm, const Handling *what, ErrorData *error, int crashed,
				  const Failure *failure)
{
	static ExecStatement select_parked =
		{NULL,
		 "SELECT attempts, crashes, state OPERATOR(pg_catalog.=) 'behind', key "
		 "FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2 "
		 "AND coalesce(log, '') OPERATOR(pg_catalog.=) $3 "
		 "AND coalesce(position, 0) OPERATOR(pg_catalog.=) $4",
		 4,
		 {TEXTOID, INT8OID, TEXTOID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	ParkVerdict verdict;
	bool behind;
	char *key;
	bool isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int64GetDatum(what->id);
	/* After a crash that lost a commit, the id may be that of another event. */
	values[2] = CStringGetTextDatum(what->log);
	values[3] = Int64GetDatum(what->position);
	if (exec_statement(&select_parked, values, NULL) == 0)
	{
		exec_end(&scope);
		return false;
	}
	verdict = park_judge(pm,
						 DatumGetInt32(exec_value(0, 1, &isnull)) +
							 (failure->kind == FAILURE_DEFERRED ? 0 : 1),
						 DatumGetInt32(exec_value(0, 2, &isnull)) + crashed, crashed > 0, failure);
	behind = DatumGetBool(exec_value(0, 3, &isnull));
	key = exec_text(0, 4);

	/*
	 * The event was handled in one transaction with the head of its key, and
	 * both were undone.  It will run alone when it has become the head.
	 */
	if (behind)
	{
		verdict.state = park_verdict_behind.state;
		verdict.retry_at = park_verdict_behind.retry_at;
	}
	park_update(what->id, &verdict, error);
	if (!behind && TIMESTAMP_IS_NOEND(verdict.retry_at))
		park_say_dead(pm, what->log[0] == '\0' ? NULL : what->log, what->position, key,
					  verdict.attempts, error);
	exec_end(&scope);
	if (!behind)
		park_head_changed(pm, what->lane, what->id, verdict.retry_at);
	return true;
}

/*
 * Returns false if problems of the server have kept the event from being
 * handled for so long that this now counts as an attempt.
 */
bool
park_postpone(ProcessManager *pm, int lane, int64 id, TimestampTz until, int patience)
{
	static ExecStatement postpone =
		{NULL,
		 "UPDATE pm_catalog.parked SET retry_at = $2, trouble_since = coalesce(trouble_since, $3) "
		 "WHERE id OPERATOR(pg_catalog.=) $1 AND retry_at IS NOT NULL RETURNING trouble_since",
		 3,
		 {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
	TimestampTz now = GetCurrentTimestamp();
	Datum values[3] = {Int64GetDatum(id), TimestampTzGetDatum(until), TimestampTzGetDatum(now)};
	TimestampTz since = now;
	ExecScope scope;
	bool found;
	bool isnull;

	exec_begin_owner(&scope);
	found = exec_statement(&postpone, values, NULL) > 0;
	if (found)
		since = DatumGetTimestampTz(exec_value(0, 1, &isnull));
	exec_end(&scope);
	/* The event may be due earlier than before, if the clock was set back meanwhile. */
	if (found)
		park_head_changed(pm, lane, id, until);
	return !TimestampDifferenceExceeds(since, now, patience);
}

/* What is known of the last failure stays, unless there is a message. */
#define PARK_POSTPONE_HINT "error_hint = CASE WHEN $3 IS NULL THEN error_hint END, "
#define PARK_POSTPONE                                                                              \
	"retry_at = $2, message = coalesce($3, message), "                                             \
	"detail = CASE WHEN $3 IS NULL THEN detail ELSE $4 END, "                                      \
	"context = CASE WHEN $3 IS NULL THEN context END, "                                            \
	"sqlstate = CASE WHEN $3 IS NULL THEN sqlstate ELSE $5 END "                                   \
	"WHERE id OPERATOR(pg_catalog.=) $1 AND retry_at IS NOT NULL"

void
park_unreadable(ProcessManager *pm, int lane, int64 id, TimestampTz until,
				const LogTrouble *trouble)
{
	static ExecStatement postpone =
		{NULL,
		 "UPDATE pm_catalog.parked SET " PARK_POSTPONE_HINT PARK_POSTPONE,
		 5,
		 {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID}};
	/* Version 0.1.0 of the extension keeps no hint. */
	static ExecStatement postpone_older = {NULL,
										   "UPDATE pm_catalog.parked SET " PARK_POSTPONE,
										   5,
										   {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID}};
	Datum values[5];
	char nulls[5] = {' ', ' ', ' ', ' ', ' '};

	values[0] = Int64GetDatum(id);
	values[1] = TimestampTzGetDatum(until);
	/* A lock will be released soon, and says nothing that a person should read. */
	values[2] = exec_text_arg(trouble->locked ? NULL : trouble->message, &nulls[2]);
	values[3] = exec_text_arg(trouble->hint, &nulls[3]);
	values[4] = CStringGetTextDatum(unpack_sql_state(trouble->sqlerrcode));
	(void) exec_as_owner(version_has("0.2.0") ? &postpone : &postpone_older, values, nulls);
	park_head_changed(pm, lane, id, until);
}

/*
 * Counts the keys of which an event has failed, up to the limit.  Events that have not
 * been tried for their keys have no message, and are not counted.
 */
static int64
park_count_keys(ProcessManager *pm, int lane)
{
	static ExecStatement count_heads =
		{NULL,
		 "SELECT pg_catalog.count(*) FROM (SELECT FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2 "
		 "AND state OPERATOR(pg_catalog.=) ANY (ARRAY['failing', 'dead']) "
		 "AND id OPERATOR(pg_catalog.>=) $4 AND message IS NOT NULL LIMIT $3) k",
		 4,
		 {TEXTOID, INT4OID, INT8OID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	int64 heads;
	bool isnull;

	exec_begin_owner(&scope);
	exec_unit_args(values, pm->name, lane);
	values[2] = Int64GetDatum(pm->park_limit);
	values[3] = Int64GetDatum(head_parked_from(pm->name, lane));
	exec_statement(&count_heads, values, NULL);
	heads = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return heads;
}

bool
park_has_room(ProcessManager *pm, int lane, int more)
{
	int64 known = head_count(pm->name, lane);

	return known >= 0 && known + more < pm->park_limit;
}

/*
 * Are there too many keys of which an event has failed?  If many events fail, this is
 * asked often, so the keys are counted only when it is not known that there are fewer.
 */
static bool
park_is_full(ProcessManager *pm, int lane)
{
	int64 known;

	if (park_has_room(pm, lane, 0))
		return false;
	known = park_count_keys(pm, lane);
	head_counted(pm->name, lane, known);
	return known >= pm->park_limit;
}

char *
park_refused(ProcessManager *pm, LaneState *state, int lane, FailureKind kind)
{
	if (kind == FAILURE_DEFERRED)
		return NULL;
	/* The failure that is being dealt with is not counted yet. */
	if (kind == FAILURE_ORDINARY && state->in_a_row >= PARK_IN_A_ROW - 1)
		return psprintf(pm->handler != NULL ? "the handler failed for %d keys in a row" :
											  "its consumers failed for %d keys in a row",
						PARK_IN_A_ROW);
	if (park_is_full(pm, lane))
		return psprintf(pm->handler != NULL ?
							"the handler failed for more keys than park_limit (%d)" :
							"its consumers failed for more keys than park_limit (%d)",
						pm->park_limit);
	return NULL;
}
