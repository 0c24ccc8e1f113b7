/*
 * instance.c
 *		The state that a process manager keeps for a key.
 *
 * Within a batch an instance is read once, however many events touch it, and
 * written once, with the cursor.  Only who holds the unit's lock reads or
 * writes it, so that nobody changes it in between.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/instrument.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
#include "base/row_tid.h"
#include "base/scan.h"
#include "base/within.h"
#include "manager/done.h"
#include "manager/instance.h"

/* So many instances, or bytes of state, are written in one statement. */
#define INSTANCE_CHUNK		 1000
#define INSTANCE_CHUNK_BYTES (16 * 1024 * 1024)

/*
 * Takes the instance in a row of the last result into the current memory
 * context.
 */
static void
instance_found(Key *key, uint64 row)
{
	bool isnull;

	key->stored = key->live = true;
	key->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(exec_value(row, 2, &isnull)));
	key->started_at = DatumGetTimestampTz(exec_value(row, 3, &isnull));
	key->updated_at = DatumGetTimestampTz(exec_value(row, 4, &isnull));
	key->tid = *(ItemPointer) DatumGetPointer(exec_value(row, 5, &isnull));
}

/* ---------- where they were last ---------- */

/* Pages read for an instance, above which its place is remembered. */
#define INSTANCE_COSTLY 12

static bool any_places = false;

static ItemPointer
instance_place(ProcessManager *pm, Key *key)
{
	return row_tid_of(ROW_TID_INSTANCE, pm->name, 0, key->name);
}

/*
 * Takes instances from where they were last, into the current memory context.
 * Returns the keys of the others.  Only where reading along the index has
 * turned out to be costly: that is when many old versions cannot be removed.
 */
static List *
instance_recall(ProcessManager *pm, List *keys)
{
	List *others = NIL;
	RowScan scan;
	ListCell *lc;

	if (!any_places)
		return keys;
	/* The lock stays: a row that has been read is written by where it is. */
	scan_begin(&scan, "instance", "instance_key", RowExclusiveLock);
	foreach(lc, keys)
	{
		Key *key = lfirst(lc);

		scan_reset(&scan);
		scan_where_text(&scan, scan_column(&scan, "key"), key->name);
		scan_where_text(&scan, scan_column(&scan, "process_manager"), pm->name);
		if (!scan_at(&scan, instance_place(pm, key)))
		{
			others = lappend(others, key);
			continue;
		}
		key->stored = key->live = true;
		key->state = PointerGetDatum(
			PG_DETOAST_DATUM_COPY(scan.values[scan_column(&scan, "state") - 1]));
		key->started_at = DatumGetTimestampTz(scan.values[scan_column(&scan, "started_at") - 1]);
		key->updated_at = DatumGetTimestampTz(scan.values[scan_column(&scan, "updated_at") - 1]);
		key->tid = scan.tuple->t_self;
	}
	scan_end(&scan);
	return others;
}

static int64
instance_pages(void)
{
	return pgBufferUsage.shared_blks_hit + pgBufferUsage.shared_blks_read;
}

/*
 * The keys have been looked up along the index, since a count of pages.
 */
static void
instance_looked_up(ProcessManager *pm, List *keys, int64 before)
{
	ListCell *lc;

	if (instance_pages() - before < INSTANCE_COSTLY * (list_length(keys) + 1))
		return;
	any_places = true;
	foreach(lc, keys)
		if (((Key *) lfirst(lc))->stored)
			*instance_place(pm, lfirst(lc)) = ((Key *) lfirst(lc))->tid;
}

/*
 * Reads the instances of keys that the batch does not know yet, at once.
 */
void
instance_prefetch(ProcessManager *pm, Keys *keys)
{
	static ExecStatement select_instances = {
		NULL,
		/* LIMIT makes it a lookup for each key, however the planner thinks of the table. */
		"SELECT i.key, i.state, i.started_at, i.updated_at, i.tid FROM pg_catalog.unnest($2) w(key) CROSS JOIN LATERAL "
		"(SELECT *, ctid AS tid FROM pm_catalog.instance WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND key OPERATOR(pg_catalog.=) w.key LIMIT 1) i",
		2,
		{TEXTOID, TEXTARRAYOID}};
	MemoryContext caller = CurrentMemoryContext;
	List *unknown = NIL;
	ListCell *lc;
	ExecScope scope;
	Datum values[2];
	int64 before;

	foreach(lc, keys->all)
	{
		Key *key = lfirst(lc);

		if (key->loaded)
			continue;
		key->loaded = true;
		unknown = lappend(unknown, key);
	}
	unknown = instance_recall(pm, unknown);
	if (unknown == NIL)
		return;
	before = instance_pages();
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = key_array(unknown);
	exec_statement(&select_instances, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Key *key = key_get_text(keys, exec_text(row, 1));
		MemoryContext spi = MemoryContextSwitchTo(caller);

		instance_found(key, row);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	instance_looked_up(pm, unknown, before);
}

/*
 * One instance, into the current memory context, which must be the batch's.
 */
void
instance_load(ProcessManager *pm, Key *key)
{
	static ExecStatement select_instance =
		{NULL,
		 "SELECT key, state, started_at, updated_at, ctid FROM pm_catalog.instance "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
		 2,
		 {TEXTOID, TEXTOID}};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	Datum values[2];
	int64 before;

	if (key->loaded)
		return;
	key->loaded = true;
	if (instance_recall(pm, list_make1(key)) == NIL)
		return;
	before = instance_pages();
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key->name);
	if (exec_statement(&select_instance, values, NULL) > 0)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		instance_found(key, 0);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	instance_looked_up(pm, list_make1(key), before);
}

/*
 * Takes in what the handler has returned.  Returns whether the instance has
 * ended, so that its timers must go.
 */
bool
instance_returned(Keys *keys, Key *key, ProcessManager *pm, Datum result, bool isnull)
{
	MemoryContext caller;
	Datum state;

	if (isnull && key->live)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("handler %s returned null for a live instance", pm->handler),
						errhint("Return the new state, or pm.done() to end the instance.")));
	if (isnull)
		return false;
	if (done_is(result, pm->handler))
	{
		key->changed = key->stored;
		key->live = false;
		return true;
	}

	caller = MemoryContextSwitchTo(keys->context);
	state = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
	MemoryContextSwitchTo(caller);
	key->updated_at = within_time();
	if (key->live)
		pfree(DatumGetPointer(key->state));
	else
		key->started_at = key->updated_at;
	key->state = state;
	key->live = key->changed = true;
	return false;
}

static Datum
instance_array(Datum *values, int count, Oid type)
{
	int16 len;
	bool byval;
	char align;

	get_typlenbyvalalign(type, &len, &byval, &align);
	return PointerGetDatum(construct_array(values, count, type, len, byval, align));
}

/*
 * Only by hand can a row change that a batch has read: it is read again.
 */
static void
instance_require(ProcessManager *pm, bool unchanged)
{
	if (!unchanged)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("instances of process manager \"%s\" have been changed by somebody else",
						pm->name)));
}

/*
 * Writes rows: new ones by key, those that have been read by where they are,
 * since nobody else writes them while the unit is locked.
 */
static void
instance_write(ProcessManager *pm, List *keys, bool stored)
{
	static ExecStatement insert_instances = {
		NULL,
		"INSERT INTO pm_catalog.instance (process_manager, key, state, started_at, updated_at) "
		"SELECT $1, u.key, u.state, u.started_at, u.updated_at "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) "
		"u(key, state, started_at, updated_at)",
		5,
		{TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}};
	static ExecStatement update_instances = {
		NULL,
		"UPDATE pm_catalog.instance i SET state = u.state, started_at = u.started_at, updated_at = u.updated_at "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
		"pg_catalog.unnest($6)) u(tid, state, started_at, updated_at, key) "
		"WHERE i.ctid OPERATOR(pg_catalog.=) u.tid AND i.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND i.key OPERATOR(pg_catalog.=) u.key",
		6,
		{TEXTOID, TIDARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
		 TEXTARRAYOID}};
	int count = list_length(keys);
	Datum *tids = palloc(sizeof(Datum) * count);
	Datum *states = palloc(sizeof(Datum) * count);
	Datum *started = palloc(sizeof(Datum) * count);
	Datum *updated = palloc(sizeof(Datum) * count);
	ExecScope scope;
	Datum values[6];

	for (int i = 0; i < count; i++)
	{
		Key *key = list_nth(keys, i);

		tids[i] = PointerGetDatum(&key->tid);
		states[i] = key->state;
		started[i] = TimestampTzGetDatum(key->started_at);
		updated[i] = TimestampTzGetDatum(key->updated_at);
	}
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = stored ? instance_array(tids, count, TIDOID) : key_array(keys);
	values[2] = instance_array(states, count, JSONBOID);
	values[3] = instance_array(started, count, TIMESTAMPTZOID);
	values[4] = instance_array(updated, count, TIMESTAMPTZOID);
	values[5] = key_array(keys);
	instance_require(pm, exec_statement(stored ? &update_instances : &insert_instances, values,
										NULL) == count);
	exec_end(&scope);
}

static void
instance_delete(ProcessManager *pm, List *keys)
{
	static ExecStatement delete_instances = {
		NULL,
		"DELETE FROM pm_catalog.instance i USING ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u(tid, key) "
		"WHERE i.ctid OPERATOR(pg_catalog.=) u.tid AND i.process_manager OPERATOR(pg_catalog.=) $1 "
		"AND i.key OPERATOR(pg_catalog.=) u.key",
		3,
		{TEXTOID, TIDARRAYOID, TEXTARRAYOID}};
	int count = list_length(keys);
	Datum *tids = palloc(sizeof(Datum) * count);
	ExecScope scope;
	Datum values[3];

	for (int i = 0; i < count; i++)
		tids[i] = PointerGetDatum(&((Key *) list_nth(keys, i))->tid);
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = instance_array(tids, count, TIDOID);
	values[2] = key_array(keys);
	instance_require(pm, exec_statement(&delete_instances, values, NULL) == count);
	exec_end(&scope);
}

/*
 * Writes what has changed of these keys, so many rows at a time.
 */
static void
instance_save_list(ProcessManager *pm, List *keys)
{
	List *rows[2] = {NIL, NIL}; /* new, stored */
	Size bytes = 0;
	List *ended = NIL;
	ListCell *lc;

	foreach(lc, keys)
	{
		Key *key = lfirst(lc);

		if (!key->changed)
			continue;
		key->changed = false;
		if (!key->live)
		{
			ended = lappend(ended, key);
			continue;
		}
		rows[key->stored] = lappend(rows[key->stored], key);
		bytes += VARSIZE_ANY(DatumGetPointer(key->state));
		if (list_length(rows[key->stored]) < INSTANCE_CHUNK && bytes < INSTANCE_CHUNK_BYTES)
			continue;
		for (int stored = 0; stored < 2; stored++)
			if (rows[stored] != NIL)
				instance_write(pm, rows[stored], stored);
		rows[0] = rows[1] = NIL;
		bytes = 0;
	}
	for (int stored = 0; stored < 2; stored++)
		if (rows[stored] != NIL)
			instance_write(pm, rows[stored], stored);
	if (ended != NIL)
		instance_delete(pm, ended);
}

/*
 * Writes what the batch has changed.
 */
void
instance_save(ProcessManager *pm, Keys *keys)
{
	instance_save_list(pm, keys->all);
}

/*
 * Writes what has changed of these keys in the midst of a batch.  Where the rows
 * are then, is not known: what is needed again is read again.
 */
void
instance_flush(ProcessManager *pm, List *keys)
{
	List *flushed = NIL;
	ListCell *lc;

	foreach(lc, keys)
		if (((Key *) lfirst(lc))->changed)
			flushed = lappend(flushed, lfirst(lc));
	if (flushed == NIL)
		return;
	instance_save_list(pm, flushed);
	foreach(lc, flushed)
	{
		Key *key = lfirst(lc);

		if (key->live)
			pfree(DatumGetPointer(key->state));
		key->state = (Datum) 0;
		key->loaded = key->stored = key->live = false;
	}
	list_free(flushed);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}
