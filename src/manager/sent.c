/*
 * sent.c
 *		pm.send: events that are sent to instances.
 *
 * Any session of a member of the owner may send, while a batch of the unit runs, and must
 * not wait for it.  So what is sent goes into a queue of its own, pm_catalog.sent, for
 * which no unit's lock is needed.  A batch that finds something there does nothing else:
 * it moves the rows to the timers of their units (pm_catalog.timer, column sent), and
 * commits.  From then on they are handled like timers that are due: in order, by the
 * lane of their key, parked if they fail.  Unlike timers, they are not replaced by others
 * of their type, do not end with the instance, and do not need one.
 *
 * A sender holds a lock until its transaction ends.  While nobody holds it, no row of the
 * process manager can appear with an id that was drawn before.  So a backend need not
 * search again where it has found nothing, however many old versions of rows the snapshot
 * of another session keeps there.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/version.h"
#include "base/within.h"
#include "log/name_right.h"
#include "log/sequence.h"
#include "manager/head.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/sent.h"
#include "shmem/slot.h"
#include "shmem/slot_sent.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_send);

/* At most this many rows are moved at once. */
#define SENT_CHUNK 1000

/* How many process managers a backend remembers. */
#define SENT_FLOORS 256

/* No row of the process manager has an id below the floor, or will have one. */
typedef struct SentFloor
{
	Oid relid; /* of the table: when the extension is created again, ids start from 1 */
	int manager;
	int64 id;
	bool empty; /* there was no row at all when slot_sent_count() was "count" */
	uint64 count;
} SentFloor;

static SentFloor *
sent_floor(ProcessManager *pm)
{
	static SentFloor floors[SENT_FLOORS];
	SentFloor *floor = &floors[pm->id % SENT_FLOORS];
	Oid relid = exec_require_relid("sent");

	if (floor->relid != relid || floor->manager != pm->id)
	{
		memset(floor, 0, sizeof(*floor));
		floor->relid = relid;
		floor->manager = pm->id;
	}
	return floor;
}

bool
sent_known(void)
{
	return version_has("0.2.0");
}

/* ---------- pm.send ---------- */

/*
 * The process manager, with the lock of a sender.  While we waited for the lock, it may
 * have been unregistered, and another one registered under its name.
 */
static ProcessManager *
sent_lock(const char *name)
{
	for (;;)
	{
		ProcessManager *before = registry_get(name, false);
		ProcessManager *pm;

		registry_require_owner(before);
		manager_lock_sender(before->id);
		pm = registry_get(name, false);
		if (pm->id != before->id)
			continue;
		registry_require_owner(pm);
		return pm;
	}
}

void
sent_check_type(Datum type)
{
	int size = (int) VARSIZE_ANY_EXHDR(DatumGetTextPP(type));

	if (size == 0 || size > KEY_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid type"),
						errdetail("A type has 1 to %d bytes.", KEY_MAX)));
}

/*
 * Adds the sender to the metadata of what is sent.
 */
static Datum
sent_by(Datum metadata)
{
	CompatJsonb by = {0};
	JsonbValue value;

	compat_jsonb_push(&by, WJB_BEGIN_OBJECT, NULL);
	value.type = jbvString;
	value.val.string.val = pstrdup(SENT_BY);
	value.val.string.len = (int) strlen(SENT_BY);
	compat_jsonb_push(&by, WJB_KEY, &value);
	value.val.string.val = GetUserNameFromId(GetUserId(), false);
	value.val.string.len = (int) strlen(value.val.string.val);
	compat_jsonb_push(&by, WJB_VALUE, &value);
	compat_jsonb_push(&by, WJB_END_OBJECT, NULL);
	/* For keys in both, the value on the right is kept. */
	return DirectFunctionCall2(jsonb_concat, metadata,
							   JsonbPGetDatum(JsonbValueToJsonb(by.result)));
}

void
sent_add(ProcessManager *pm, const char *key, Datum type, Datum data, Datum metadata)
{
	static ExecStatement insert_sent =
		{NULL,
		 "INSERT INTO pm_catalog.sent (process_manager, key, type, data, metadata, sent_at) "
		 "VALUES ($1, $2, $3, $4, $5, $6)",
		 6,
		 {TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID, TIMESTAMPTZOID}};
	Datum values[6];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key);
	values[2] = type;
	values[3] = data;
	values[4] = sent_by(metadata);
	values[5] = TimestampTzGetDatum(within_time());
	(void) exec_as_owner(&insert_sent, values, NULL);
	wakeup_sent(pm->id, pm->owner);
}

/*
 * pm.send(name, key, type, data)
 */
Datum
pm_send(PG_FUNCTION_ARGS)
{
	Datum empty = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	ProcessManager *pm;

	exec_require_writable("pm.send");
	argument_not_null(fcinfo, 0, "name");
	argument_not_null(fcinfo, 1, "key");
	argument_not_null(fcinfo, 2, "type");
	sent_check_type(PG_GETARG_DATUM(2));
	pm = sent_lock(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (pm->kind != HANDLER_INSTANCE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" keeps no instances", pm->name),
				 errdetail("Its handler %s is not a function f(pm.event, jsonb).", pm->handler),
				 errhint("Append an event to one of its logs instead.")));
	/* If a handler sends it, it gets the metadata of an event that the handler would append. */
	sent_add(pm, key_stored_name(PG_GETARG_DATUM(1)), PG_GETARG_DATUM(2),
			 PG_ARGISNULL(3) ? empty : PG_GETARG_DATUM(3), within_cause(empty));
	PG_RETURN_VOID();
}

/* ---------- delivery ---------- */

typedef struct SentRow
{
	int64 id;
	int lane;
} SentRow;

static void *
sent_form(uint64 row)
{
	SentRow *sent = palloc(sizeof(SentRow));
	bool isnull;

	sent->id = DatumGetInt64(exec_value(row, 1, &isnull));
	sent->lane = DatumGetInt32(exec_value(row, 2, &isnull));
	return sent;
}

/*
 * Is it certain, without reading, that the queue is empty?  The count does not include what
 * this transaction itself has sent, and without the preloaded library nothing is counted.
 */
static bool
sent_nothing(ProcessManager *pm)
{
	SentFloor *floor = sent_floor(pm);

	return floor->empty && slot_preloaded() && floor->count == slot_sent_count(pm->id) &&
		   !wakeup_has_sent(pm->id);
}

/*
 * The first rows from the floor on.  If there is none, and none can appear below the last
 * id that was drawn, raises the floor.
 */
static List *
sent_read(ProcessManager *pm, int limit, bool *pending)
{
	static ExecStatement select_sent =
		{NULL,
		 "SELECT id, pm_catalog.lane_of(key, $2) FROM pm_catalog.sent "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.>=) $3 "
		 "ORDER BY id LIMIT $4",
		 4,
		 {TEXTOID, INT4OID, INT8OID, INT8OID}};
	SentFloor *floor = sent_floor(pm);
	/*
	 * The order matters: an id that is drawn after this is not below the new floor, and a
	 * row whose id was drawn before is found, unless its sender is still open.
	 */
	uint64 count = slot_sent_count(pm->id);
	int64 last = sequence_last(exec_require_relid("sent_id_seq"));
	Datum values[4] = {CStringGetTextDatum(pm->name), Int32GetDatum(pm->lanes),
					   Int64GetDatum(floor->id), Int64GetDatum(limit)};
	List *rows;

	*pending = !manager_no_sender(pm->id);
	rows = exec_list(&select_sent, values, NULL, sent_form);
	/* If this transaction is undone, rows that it has deleted come back. */
	if (rows == NIL && !*pending && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
	{
		floor->id = last + 1;
		floor->empty = true;
		floor->count = count;
	}
	return rows;
}

/*
 * Those of the rows that can be moved now.  Other lanes' rows are moved too, if no batch
 * of the lane runs: a lane that has halted would keep its rows in the queue, and the
 * others would pass them each time.
 */
static ArrayType *
sent_choose(ProcessManager *pm, int lane, List *rows, int *count)
{
	Datum *ids = palloc(sizeof(Datum) * list_length(rows));
	char *locked = palloc0(pm->lanes); /* of each lane: 0 not tried, 1 locked, 2 not available */
	ListCell *lc;

	locked[lane] = 1;
	*count = 0;
	foreach(lc, rows)
	{
		SentRow *row = lfirst(lc);

		if (locked[row->lane] == 0)
			locked[row->lane] = manager_lock_unit(pm->id, row->lane, true) ? 1 : 2;
		if (locked[row->lane] == 1)
			ids[(*count)++] = Int64GetDatum(row->id);
	}
	return construct_array(ids, *count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/*
 * Notes that a unit has a new row (head.c).
 */
static void *
sent_form_delivered(uint64 row)
{
	HeadPoint *point = palloc(sizeof(HeadPoint) + sizeof(int));
	bool isnull;

	point->time = DatumGetTimestampTz(exec_value(row, 2, &isnull));
	point->id = DatumGetInt64(exec_value(row, 3, &isnull));
	*(int *) (point + 1) = DatumGetInt32(exec_value(row, 1, &isnull));
	return point;
}

int
sent_deliver(ProcessManager *pm, int lane, TimestampTz now, bool *pending)
{
	/* Whatever the clock says, it is due now.  The new ids are in the order of the old ones. */
	static ExecStatement deliver =
		{NULL,
		 "WITH s AS (DELETE FROM pm_catalog.sent WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND id OPERATOR(pg_catalog.=) ANY ($2) "
		 "RETURNING id, process_manager, key, type, data, metadata, sent_at), " NAME_RIGHT_USE_SENT(
			 "s") "INSERT INTO pm_catalog.timer "
				  "(process_manager, lane, key, type, due, data, metadata, sent) "
				  "SELECT s.process_manager, pm_catalog.lane_of(s.key, $3), s.key, s.type, "
				  "least(s.sent_at, $4), s.data, s.metadata, true FROM s ORDER BY s.id "
				  "RETURNING lane, due, id",
		 4,
		 {TEXTOID, INT8ARRAYOID, INT4OID, TIMESTAMPTZOID}};
	List *rows;
	Datum values[4];
	ListCell *lc;
	int count;

	*pending = false;
	rows = sent_nothing(pm) ? NIL : sent_read(pm, SENT_CHUNK, pending);
	if (rows == NIL)
		return 0;
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = PointerGetDatum(sent_choose(pm, lane, rows, &count));
	values[2] = Int32GetDatum(pm->lanes);
	values[3] = TimestampTzGetDatum(now);
	if (count == 0)
		return 0;
	foreach(lc, exec_list(&deliver, values, NULL, sent_form_delivered))
	{
		HeadPoint *point = lfirst(lc);
		int its_lane = *(int *) (point + 1);

		head_add_timer(pm->name, its_lane, point->time, point->id);
		lane_touch(pm->name, its_lane);
	}
	return count;
}

bool
sent_any(ProcessManager *pm, bool *pending)
{
	*pending = false;
	if (pm->kind != HANDLER_INSTANCE || !sent_known() || sent_nothing(pm))
		return false;
	return sent_read(pm, 1, pending) != NIL;
}
