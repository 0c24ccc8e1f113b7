/*
 * park_queue.c
 *		The queues of parked events, one for each key: reading them, taking
 *		events out of them, trying them again.
 *
 * The events of a key form a queue in the order of their ids.  The first one, the head, is
 * failing (it is tried again at retry_at), deferred (the same, but it has not failed) or
 * dead (it has failed permanently or too often, and waits for a person).  The others are
 * behind the head and have not been tried.  As long as a key has a queue, its new events
 * and timers join it (park.c).  When the queue is empty, the key is handled from the log
 * again.
 *
 * Assumes that the caller holds the unit's lock.  Otherwise a queue could
 * become empty while an event joins it, and later events would overtake that
 * one.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/event.h"
#include "base/exec.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/park_queue.h"
#include "shmem/wakeup.h"

/* ---------- which keys have a queue ---------- */

/*
 * Of the given keys, returns those that may have a queue.
 */
static List *
park_maybe(ProcessManager *pm, int lane, List *keys)
{
	List *maybe = NIL;
	ListCell *lc;

	foreach(lc, keys)
	{
		Key *key = lfirst(lc);

		key->parked_known = true;
		if (!head_lacks_key(pm->name, lane, key->name))
			maybe = lappend(maybe, key);
	}
	return maybe;
}

void
park_prefetch(ProcessManager *pm, int lane, List *keys)
{
	static ExecStatement select_keys =
		{NULL,
		 "SELECT w.number::pg_catalog.int4 "
		 "FROM pg_catalog.unnest($3) WITH ORDINALITY w(key, number) "
		 "CROSS JOIN LATERAL (SELECT FROM pm_catalog.parked k "
		 "WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND k.lane OPERATOR(pg_catalog.=) $2 AND k.key OPERATOR(pg_catalog.=) w.key "
		 "AND k.id OPERATOR(pg_catalog.>=) $4 LIMIT 1) k",
		 4,
		 {TEXTOID, INT4OID, TEXTARRAYOID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	bool isnull;

	keys = park_maybe(pm, lane, keys);
	if (keys == NIL)
		return;
	exec_begin_owner(&scope);
	exec_unit_args(values, pm->name, lane);
	values[2] = key_array(keys);
	/* No head has a lower id, and events behind a head have higher ids than the head. */
	values[3] = Int64GetDatum(head_parked_from(pm->name, lane));
	exec_statement(&select_keys, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		((Key *) list_nth(keys, DatumGetInt32(exec_value(row, 1, &isnull)) - 1))->parked = true;
	exec_end(&scope);
	head_asked(pm->name, lane, list_length(keys));
}

bool
park_has(ProcessManager *pm, int lane, Key *key)
{
	if (!key->parked_known)
		park_prefetch(pm, lane, list_make1(key));
	return key->parked;
}

bool
park_has_event(ProcessManager *pm, const char *log, int64 position, const char *key)
{
	static ExecStatement select_event = {NULL,
										 "SELECT FROM pm_catalog.parked "
										 "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
										 "AND log OPERATOR(pg_catalog.=) $2 "
										 "AND position OPERATOR(pg_catalog.=) $3 "
										 "AND key OPERATOR(pg_catalog.=) $4",
										 4,
										 {TEXTOID, TEXTOID, INT8OID, TEXTOID}};
	Datum values[4];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(position);
	values[3] = CStringGetTextDatum(key);
	return exec_as_owner(&select_event, values, NULL) > 0;
}

static void *
park_form_position(uint64 row)
{
	int64 *position = palloc(sizeof(int64));
	bool isnull;

	*position = DatumGetInt64(exec_value(row, 1, &isnull));
	return position;
}

List *
park_positions(ProcessManager *pm, int lane, const char *log, int64 after)
{
	static ExecStatement select_positions =
		{NULL,
		 "SELECT DISTINCT position FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND log OPERATOR(pg_catalog.=) $2 "
		 "AND position OPERATOR(pg_catalog.>) $3 AND lane OPERATOR(pg_catalog.=) $4 "
		 "ORDER BY position",
		 4,
		 {TEXTOID, TEXTOID, INT8OID, INT4OID}};
	Datum values[4];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(after);
	values[3] = Int32GetDatum(lane);
	return exec_list(&select_positions, values, NULL, park_form_position);
}

bool
park_precedes(ProcessManager *pm, const char *key, const char *log, int64 position)
{
	static ExecStatement select_earlier = {NULL,
										   "SELECT FROM pm_catalog.parked "
										   "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
										   "AND log OPERATOR(pg_catalog.=) $2 "
										   "AND position OPERATOR(pg_catalog.<) $3 "
										   "AND key OPERATOR(pg_catalog.=) $4 LIMIT 1",
										   4,
										   {TEXTOID, TEXTOID, INT8OID, TEXTOID}};
	Datum values[4];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(log);
	values[2] = Int64GetDatum(position);
	values[3] = CStringGetTextDatum(key);
	return exec_as_owner(&select_earlier, values, NULL) > 0;
}

void
park_head_changed(ProcessManager *pm, int lane, int64 id, TimestampTz retry_at)
{
	head_add_parked(pm->name, lane, id, retry_at);
	lane_touch(pm->name, lane);
}

/* ---------- reading them ---------- */

/* The columns of an event, in the order that park_form() wants. */
#define PARK_COLUMNS                                                                               \
	"log, position, stream, version, type, data, metadata, recorded_at, id, key, attempts"

/*
 * The event in a row of the last result, in the current memory context.  A timer is
 * in the row itself.  Of an event of a log the row is only a reference, whatever an
 * older version has written into it.
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
	if (parked->log == NULL)
		parked->event = event_form(&fields);
	return parked;
}

/*
 * The columns of a head, in the order that park_form_head() wants.  pm.retry counts the
 * attempts anew, but leaves the message.  That of a deferral says why.
 */
#define PARK_HEAD_COLUMNS                                                                          \
	"id, key, attempts, retry_at, log, position, state OPERATOR(pg_catalog.=) 'deferred', "        \
	"attempts OPERATOR(pg_catalog.>) 0 OR (message IS NOT NULL "                                   \
	"AND state OPERATOR(pg_catalog.<>) 'deferred')"

/*
 * The head in a row of the last result, without its event.
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
	head->deferred = DatumGetBool(exec_value(row, 7, &isnull));
	head->failed = DatumGetBool(exec_value(row, 8, &isnull));
	return head;
}

List *
park_due_list(ProcessManager *pm, int lane, TimestampTz since, TimestampTz now, int limit)
{
	static ExecStatement select_due =
		{NULL,
		 "SELECT " PARK_HEAD_COLUMNS " FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $2 AND retry_at IS NOT NULL "
		 "AND ROW(retry_at, id) OPERATOR(pg_catalog.>=) ROW($3, $4) "
		 "AND ($5 IS NULL OR parked_at OPERATOR(pg_catalog.>=) $5) "
		 "ORDER BY retry_at, id LIMIT $6",
		 6,
		 {TEXTOID, INT4OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}};
	HeadPoint from = head_retry_from(pm->name, lane);
	Datum values[6];
	List *heads;
	ListCell *lc;

	exec_unit_args(values, pm->name, lane);
	values[2] = TimestampTzGetDatum(from.time);
	values[3] = Int64GetDatum(from.id);
	values[4] = TimestampTzGetDatum(since);
	values[5] = Int64GetDatum(limit);
	/* Only heads have a retry_at. */
	heads = exec_list(&select_due, values, since == 0 ? "    n " : NULL, park_form_head);
	foreach(lc, heads)
	{
		const Parked *head = lfirst(lc);

		if (!lane_is_due(head->retry_at, head->deferred, now))
			return list_truncate(heads, foreach_current_index(lc));
	}
	return heads;
}

Parked *
park_due(ProcessManager *pm, int lane, TimestampTz since, TimestampTz now)
{
	List *heads = park_due_list(pm, lane, since, now, 1);

	return heads == NIL ? NULL : linitial(heads);
}

Parked *
park_get(ProcessManager *pm, int64 id)
{
	static ExecStatement select_one = {NULL,
									   "SELECT " PARK_HEAD_COLUMNS " FROM pm_catalog.parked "
									   "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
									   "AND id OPERATOR(pg_catalog.=) $2",
									   2,
									   {TEXTOID, INT8OID}};
	Datum values[2];
	List *found;

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int64GetDatum(id);
	found = exec_list(&select_one, values, NULL, park_form_head);
	return found == NIL ? NULL : linitial(found);
}

bool
park_crashed(ProcessManager *pm, int64 id)
{
	static ExecStatement select_crashed = {NULL,
										   "SELECT FROM pm_catalog.parked "
										   "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
										   "AND id OPERATOR(pg_catalog.=) $2 "
										   "AND crashes OPERATOR(pg_catalog.>) 0 "
										   "AND sqlstate OPERATOR(pg_catalog.=) $3",
										   3,
										   {TEXTOID, INT8OID, TEXTOID}};
	Datum values[3];
	ExecScope scope;
	bool found;

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = Int64GetDatum(id);
	values[2] = CStringGetTextDatum(unpack_sql_state(ERRCODE_CRASH_SHUTDOWN));
	exec_begin_owner(&scope);
	found = exec_statement(&select_crashed, values, NULL) > 0;
	exec_end(&scope);
	return found;
}

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

	exec_unit_args(values, pm->name, lane);
	values[2] = CStringGetTextDatum(key);
	values[3] = Int64GetDatum(limit);
	values[4] = Int64GetDatum(first);
	return exec_list(&select_queue, values, NULL, park_form);
}

/* ---------- trying again ---------- */

bool
park_take(int64 id)
{
	static ExecStatement delete_parked =
		{NULL, "DELETE FROM pm_catalog.parked WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
	Datum values[1] = {Int64GetDatum(id)};

	/* Sessions in pm.wait_for look again, since an event has left the queues. */
	wakeup_moved();
	return exec_as_owner(&delete_parked, values, NULL) > 0;
}

void
park_promote(ProcessManager *pm, int lane, const char *key, int64 gone)
{
	static ExecStatement promote =
		{NULL,
		 "UPDATE pm_catalog.parked SET " PARK_SET_NEXT
		 "WHERE state OPERATOR(pg_catalog.=) 'behind' "
		 "AND id OPERATOR(pg_catalog.=) (SELECT id FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $2 "
		 "AND key OPERATOR(pg_catalog.=) $3 "
		 "AND id OPERATOR(pg_catalog.>) $4 ORDER BY id LIMIT 1) "
		 "RETURNING id",
		 4,
		 {TEXTOID, INT4OID, TEXTOID, INT8OID}};
	ExecScope scope;
	Datum values[4];
	int64 id = 0;
	bool isnull;

	exec_unit_args(values, pm->name, lane);
	values[2] = CStringGetTextDatum(key);
	values[3] = Int64GetDatum(gone);
	exec_begin_owner(&scope);
	if (exec_statement(&promote, values, NULL) > 0)
		id = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	if (id != 0)
		park_head_changed(pm, lane, id, DT_NOBEGIN);
}

/*
 * The dead events that are tried again are those among the last "revive" keys
 * that have failed.  An event during which the server crashed keeps one crash:
 * it must not get two more.
 */
int
park_retry_all(ProcessManager *pm, int lane, int revive)
{
	static ExecStatement retry_all =
		{NULL,
		 "UPDATE pm_catalog.parked SET " PARK_SET_AFRESH
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2 "
		 "AND (state OPERATOR(pg_catalog.=) 'failing' OR id OPERATOR(pg_catalog.=) ANY (ARRAY("
		 "SELECT id FROM pm_catalog.parked "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2 "
		 "AND state OPERATOR(pg_catalog.=) ANY (ARRAY['failing', 'dead']) "
		 "ORDER BY id DESC LIMIT $3)))",
		 3,
		 {TEXTOID, INT4OID, INT8OID}};
	Datum values[3];

	exec_unit_args(values, pm->name, lane);
	values[2] = Int64GetDatum(revive);
	/* It is not known here which rows become due. */
	head_forget(pm->name, lane);
	lane_touch(pm->name, lane);
	return (int) exec_as_owner(&retry_all, values, NULL);
}
