/*
 * park.c
 *		Events set aside, in order, because they failed or an earlier one of
 *		their key did.
 *
 * Those of one key form a queue in the order of their ids.  Its first one, the
 * head, is failing (to be tried again at retry_at) or dead (failed
 * max_attempts times, waits for a person); the others are behind it and have
 * not been tried.  While a key has a queue its events and timers join it, and
 * when the queue is empty the key is free again.  All is done by who holds the
 * unit's lock, so that a key cannot be freed while an event joins its queue.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/exec.h"
#include "base/report.h"
#include "base/within.h"
#include "manager/head.h"
#include "manager/park.h"
#include "shmem/wakeup.h"

/* So many keys may fail in a row, with nothing handled between. */
#define PARK_IN_A_ROW 20

/* ---------- which keys have a queue ---------- */

/*
 * Finds out at once which of some keys have one.
 */
void
park_prefetch(ProcessManager *pm, int lane, List *keys)
{
	static ExecStatement select_keys = {
		NULL,
		"SELECT w.number::pg_catalog.int4 FROM pg_catalog.unnest($3) WITH ORDINALITY w(key, number) "
		"CROSS JOIN LATERAL (SELECT FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND k.lane OPERATOR(pg_catalog.=) $2 AND k.key OPERATOR(pg_catalog.=) w.key "
		"AND k.id OPERATOR(pg_catalog.>=) $4 LIMIT 1) k",
		4,
		{TEXTOID, INT4OID, TEXTARRAYOID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	ListCell *lc;
	bool isnull;

	foreach(lc, keys)
		((Key *) lfirst(lc))->parked_known = true;
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = key_array(keys);
	/* The first of each key is not before this, nor is what is behind it. */
	values[3] = Int64GetDatum(head_parked_from(pm->name, lane));
	exec_statement(&select_keys, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		((Key *) list_nth(keys, DatumGetInt32(exec_value(row, 1, &isnull)) - 1))->parked = true;
	exec_end(&scope);
}

bool
park_has(ProcessManager *pm, int lane, Key *key)
{
	if (!key->parked_known)
		park_prefetch(pm, lane, list_make1(key));
	return key->parked;
}

/* ---------- joining a queue ---------- */

/*
 * An event has become the first of its key, or is due at another time.
 */
static void
park_added(ProcessManager *pm, int lane, int64 id, TimestampTz retry_at)
{
	head_add_parked(pm->name, lane, id, retry_at);
	lane_touch(pm->name, lane);
}

/*
 * Sets an event aside.
 */
static void
park_insert(ProcessManager *pm, int lane, const char *key, Datum event, int64 too_large,
			const char *state, int attempts, int crashes, TimestampTz retry_at, ErrorData *error)
{
	static ExecStatement insert_parked = {
		NULL,
		"INSERT INTO pm_catalog.parked (log, position, stream, version, type, data, metadata, recorded_at, process_manager, "
		"lane, key, state, attempts, crashes, retry_at, message, detail, context, sqlstate, too_large) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) "
		"RETURNING id",
		20,
		{TEXTOID,		 INT8OID, TEXTOID, INT8OID, TEXTOID, JSONBOID, JSONBOID,
		 TIMESTAMPTZOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, INT4OID,  INT4OID,
		 TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID}};
	EventFields fields;
	ExecScope scope;
	Datum values[20];
	char nulls[20];
	int64 id;
	bool isnull;

	memset(nulls, ' ', sizeof(nulls));
	event_deform(event, &fields);
	for (int i = 0; i < EVENT_ATTRIBUTES; i++)
	{
		values[i] = fields.values[i];
		nulls[i] = fields.nulls[i] ? 'n' : ' ';
	}
	values[8] = CStringGetTextDatum(pm->name);
	values[9] = Int32GetDatum(lane);
	values[10] = CStringGetTextDatum(key);
	values[11] = CStringGetTextDatum(state);
	values[12] = Int32GetDatum(attempts);
	values[13] = Int32GetDatum(crashes);
	values[14] = TimestampTzGetDatum(retry_at);
	nulls[14] = TIMESTAMP_IS_NOEND(retry_at) ? 'n' : ' ';
	exec_error_args(error, &values[15], &nulls[15]);
	values[19] = Int64GetDatum(too_large);
	exec_begin_owner(&scope);
	exec_statement(&insert_parked, values, nulls);
	id = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (strcmp(state, "behind") != 0)
		park_added(pm, lane, id, retry_at);
	wakeup_moved();
}

/*
 * An event of a key that has a queue.
 */
void
park_behind(ProcessManager *pm, int lane, const char *key, Datum event, int64 too_large)
{
	park_insert(pm, lane, key, event, too_large, "behind", 0, 0, DT_NOEND, NULL);
}

/*
 * What follows from so many attempts.  One crash of the server is not held
 * against an event (somebody may have killed its dispatcher): it is tried again
 * at once, alone.  After two it is left to a person.
 */
static const char *
park_verdict(ProcessManager *pm, int attempts, int crashes, bool crash, TimestampTz *retry_at)
{
	if (crash ? crashes >= 2 : attempts >= pm->max_attempts)
	{
		*retry_at = DT_NOEND;
		return "dead";
	}
	*retry_at = crash ? DT_NOBEGIN : lane_retry_at(pm, attempts);
	return "failing";
}

/*
 * It is said once that an event is dead, and waits for a person.
 */
static void
park_say_dead(ProcessManager *pm, const char *log, int64 number, const char *key, int attempts,
			  ErrorData *error)
{
	if (!report_may(pm->owner, REPORT_OUTCOME))
		return;
	ereport(
		LOG,
		(log != NULL ?
			 errmsg(
				 "process manager \"%s\" in database \"%s\": the event at position %lld of log \"%s\" is dead: %s",
				 pm->name, report_database(), (long long) number, log,
				 report_cut(error->message, REPORT_LOGGED)) :
			 errmsg("process manager \"%s\" in database \"%s\": a timer of key \"%s\" is dead: %s",
					pm->name, report_database(), key, report_cut(error->message, REPORT_LOGGED)),
		 errdetail_log_plural("It has failed %d time.", "It has failed %d times.", attempts,
							  attempts),
		 errhint("pm.retry has it tried again, pm.discard gives it up.")));
}

/*
 * An event that has failed, by itself the first of its key, unless a queue has
 * come to be meanwhile.
 */
void
park_failed(ProcessManager *pm, int lane, const char *key, Datum event, int64 too_large,
			int attempts, int crashes, ErrorData *error)
{
	TimestampTz retry_at;
	const char *state = park_verdict(pm, attempts, crashes, crashes > 0, &retry_at);
	Key known = {.name = key};

	if (park_has(pm, lane, &known))
	{
		park_insert(pm, lane, key, event, too_large, "behind", attempts, crashes, DT_NOEND, error);
		return;
	}
	park_insert(pm, lane, key, event, too_large, state, attempts, crashes, retry_at, error);
	if (TIMESTAMP_IS_NOEND(retry_at))
	{
		EventFields fields;
		bool timer;

		event_deform(event, &fields);
		timer = fields.nulls[EVENT_LOG - 1];
		park_say_dead(pm, timer ? NULL : TextDatumGetCString(fields.values[EVENT_LOG - 1]),
					  timer ? 0 : DatumGetInt64(fields.values[EVENT_POSITION - 1]), key, attempts,
					  error);
	}
	/* Who merely was there when the server crashed, says nothing of the handler. */
	if (crashes == 0)
		lane_in_a_row(pm->name, lane, 1, true);
}

/*
 * A parked event has failed once more.  False if it is gone.
 */
bool
park_failed_again(ProcessManager *pm, const Handling *what, ErrorData *error, bool crash)
{
	static ExecStatement select_parked = {
		NULL,
		"SELECT attempts, crashes, state OPERATOR(pg_catalog.=) 'behind', key FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND id OPERATOR(pg_catalog.=) $2 AND coalesce(log, '') OPERATOR(pg_catalog.=) $3 AND coalesce(position, 0) OPERATOR(pg_catalog.=) $4",
		4,
		{TEXTOID, INT8OID, TEXTOID, INT8OID}};
	static ExecStatement update_parked = {
		NULL,
		"UPDATE pm_catalog.parked SET state = $2, attempts = $3, crashes = $4, retry_at = $5, message = $6, detail = $7, "
		"context = $8, sqlstate = $9 WHERE id OPERATOR(pg_catalog.=) $1",
		9,
		{INT8OID, TEXTOID, INT4OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}};
	ExecScope scope;
	Datum values[9];
	char nulls[9];
	int attempts;
	int crashes;
	bool behind;
	const char *state;
	char *key;
	TimestampTz retry_at;
	bool isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int64GetDatum(what->id);
	/* After a crash that lost a commit, the number may be another event's. */
	values[2] = CStringGetTextDatum(what->log);
	values[3] = Int64GetDatum(what->position);
	if (exec_statement(&select_parked, values, NULL) == 0)
	{
		exec_end(&scope);
		return false;
	}
	attempts = DatumGetInt32(exec_value(0, 1, &isnull)) + 1;
	crashes = DatumGetInt32(exec_value(0, 2, &isnull)) + (crash ? 1 : 0);
	behind = DatumGetBool(exec_value(0, 3, &isnull));

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(what->id);
	state = park_verdict(pm, attempts, crashes, crash, &retry_at);
	/* It failed in the train of its head, which was undone: it will run alone when it is the head.
	 */
	if (behind)
	{
		state = "behind";
		retry_at = DT_NOEND;
	}
	values[1] = CStringGetTextDatum(state);
	values[2] = Int32GetDatum(attempts);
	values[3] = Int32GetDatum(crashes);
	values[4] = TimestampTzGetDatum(retry_at);
	nulls[4] = TIMESTAMP_IS_NOEND(retry_at) ? 'n' : ' ';
	exec_error_args(error, &values[5], &nulls[5]);
	key = exec_text(0, 4);
	exec_statement(&update_parked, values, nulls);
	if (!behind && TIMESTAMP_IS_NOEND(retry_at))
		park_say_dead(pm, what->log[0] == '\0' ? NULL : what->log, what->position, key, attempts,
					  error);
	exec_end(&scope);
	if (!behind)
		park_added(pm, what->lane, what->id, retry_at);
	return true;
}

/*
 * A parked event met trouble of the server: no attempt, but later.  False if it
 * has met it for so long (ms) that it is an attempt.
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
	/* It may have been due far in the future, by a clock that was set back. */
	if (found)
		park_added(pm, lane, id, until);
	return !TimestampDifferenceExceeds(since, now, patience);
}

/*
 * Why no further key may be parked, or NULL: so many failures are not the
 * events' fault.
 */
char *
park_refused(ProcessManager *pm, LaneState *state, int lane)
{
	static ExecStatement count_heads = {
		NULL,
		"SELECT pg_catalog.count(*) FROM (SELECT FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND lane OPERATOR(pg_catalog.=) $2 AND state OPERATOR(pg_catalog.=) ANY (ARRAY['failing', 'dead']) "
		"AND id OPERATOR(pg_catalog.>=) $4 LIMIT $3) k",
		4,
		{TEXTOID, INT4OID, INT8OID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	int64 heads;
	bool isnull;

	if (state->in_a_row >= PARK_IN_A_ROW - 1)
		return psprintf("the handler failed for %d keys in a row", PARK_IN_A_ROW);
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = Int64GetDatum(pm->park_limit);
	values[3] = Int64GetDatum(head_parked_from(pm->name, lane));
	exec_statement(&count_heads, values, NULL);
	heads = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (heads >= pm->park_limit)
		return psprintf("the handler failed for one more key than park_limit (%d)", pm->park_limit);
	return NULL;
}

/* ---------- trying again ---------- */

/*
 * The event in a row of the last result, in the current memory context.
 */
static void *
park_form(uint64 row)
{
	Parked *parked = palloc0(sizeof(Parked));
	EventFields fields;
	bool isnull;

	for (int i = 0; i < EVENT_ATTRIBUTES; i++)
		fields.values[i] = exec_value(row, i + 1, &fields.nulls[i]);
	parked->log = exec_text(row, 1);
	parked->position = DatumGetInt64(exec_value(row, 2, &isnull));
	if (isnull)
		parked->position = 0;
	parked->id = DatumGetInt64(exec_value(row, 9, &isnull));
	parked->key = exec_text(row, 10);
	parked->attempts = DatumGetInt32(exec_value(row, 11, &isnull));
	parked->event = event_form(&fields);
	parked->too_large = DatumGetInt64(exec_value(row, 12, &isnull));
	return parked;
}

#define PARK_COLUMNS                                                                               \
	"log, position, stream, version, type, data, metadata, recorded_at, id, key, attempts, too_large"

/*
 * A head in a row of the last result, without its event.
 */
static void *
park_form_head(uint64 row)
{
	Parked *head = palloc0(sizeof(Parked));
	bool isnull;

	head->id = DatumGetInt64(exec_value(row, 1, &isnull));
	head->key = exec_text(row, 2);
	head->attempts = DatumGetInt32(exec_value(row, 3, &isnull));
	head->retry_at = DatumGetTimestampTz(exec_value(row, 4, &isnull));
	head->log = exec_text(row, 5);
	head->position = DatumGetInt64(exec_value(row, 6, &isnull));
	if (isnull)
		head->position = 0;
	return head;
}

/*
 * The head to be tried again next, if it is due.
 */
Parked *
park_due(ProcessManager *pm, int lane, TimestampTz now)
{
	static ExecStatement select_due = {
		NULL,
		"SELECT id, key, attempts, retry_at, log, position FROM pm_catalog.parked "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2 AND retry_at IS NOT NULL "
		"AND ROW(retry_at, id) OPERATOR(pg_catalog.>=) ROW($3, $4) "
		"ORDER BY retry_at, id LIMIT 1",
		4,
		{TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID}};
	HeadPoint from = head_retry_from(pm->name, lane);
	Datum values[4];
	List *heads;

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = TimestampTzGetDatum(from.time);
	values[3] = Int64GetDatum(from.id);
	heads = exec_list(&select_due, values, NULL, park_form_head);
	if (heads == NIL || !lane_is_due(((Parked *) linitial(heads))->retry_at, now))
		return NULL;
	return linitial(heads);
}

/*
 * The first events of a key's queue, whose head is known.
 */
List *
park_read(ProcessManager *pm, int lane, const char *key, int64 first, int limit)
{
	static ExecStatement select_queue =
		{NULL,
		 "SELECT " PARK_COLUMNS
		 " FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $2 AND key OPERATOR(pg_catalog.=) $3 "
		 "AND id OPERATOR(pg_catalog.>=) $5 ORDER BY id LIMIT $4",
		 5,
		 {TEXTOID, INT4OID, TEXTOID, INT8OID, INT8OID}};
	Datum values[5];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = CStringGetTextDatum(key);
	values[3] = Int64GetDatum(limit);
	values[4] = Int64GetDatum(first);
	return exec_list(&select_queue, values, NULL, park_form);
}

/*
 * Takes an event out of its queue in order to handle it.  False if it is gone.
 */
bool
park_take(int64 id)
{
	static ExecStatement delete_parked =
		{NULL, "DELETE FROM pm_catalog.parked WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
	Datum values[1] = {Int64GetDatum(id)};

	wakeup_moved();
	return exec_as_owner(&delete_parked, values, NULL) > 0;
}

/*
 * A queue whose head has gone, and the events after it up to this one: the next
 * is due now.
 */
void
park_promote(ProcessManager *pm, int lane, const char *key, int64 gone)
{
	static ExecStatement promote = {
		NULL,
		"UPDATE pm_catalog.parked SET state = 'failing', retry_at = '-infinity' WHERE state OPERATOR(pg_catalog.=) 'behind' "
		"AND id OPERATOR(pg_catalog.=) (SELECT id FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND lane OPERATOR(pg_catalog.=) $2 AND key OPERATOR(pg_catalog.=) $3 "
		"AND id OPERATOR(pg_catalog.>) $4 ORDER BY id LIMIT 1) RETURNING id",
		4,
		{TEXTOID, INT4OID, TEXTOID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	int64 id = 0;
	bool isnull;

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = CStringGetTextDatum(key);
	values[3] = Int64GetDatum(gone);
	exec_begin_owner(&scope);
	if (exec_statement(&promote, values, NULL) > 0)
		id = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (id != 0)
		park_added(pm, lane, id, DT_NOBEGIN);
}

/*
 * Failing events are due now, and are tried afresh (who has crashed the server
 * does not get two more crashes); so are the dead ones among
 * the last "revive" keys that have failed.  Returns how many.
 */
int
park_retry_all(ProcessManager *pm, int lane, int revive)
{
	static ExecStatement retry_all = {
		NULL,
		"UPDATE pm_catalog.parked SET state = 'failing', attempts = 0, crashes = least(crashes, 1), retry_at = '-infinity', trouble_since = NULL "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2 "
		"AND (state OPERATOR(pg_catalog.=) 'failing' OR id OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT id FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2 "
		"AND state OPERATOR(pg_catalog.=) ANY (ARRAY['failing', 'dead']) ORDER BY id DESC LIMIT $3)))",
		3,
		{TEXTOID, INT4OID, INT8OID}};
	Datum values[3];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int32GetDatum(lane);
	values[2] = Int64GetDatum(revive);
	head_forget(pm->name, lane);
	lane_touch(pm->name, lane);
	return (int) exec_as_owner(&retry_all, values, NULL);
}
