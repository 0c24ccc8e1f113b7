/*
 * instance.c
 *		The instances of a process manager: the state that it keeps for each key.
 *
 * A batch reads an instance once, however many events touch it, keeps it in
 * memory (Key), and writes it once, with the cursor (instance_save.c).
 *
 * Assumes that only a session that holds the unit's lock reads and writes the
 * rows, so that no other session changes them in between.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "executor/instrument.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/row_tid.h"
#include "base/scan.h"
#include "base/within.h"
#include "manager/done.h"
#include "manager/instance.h"

/*
 * Copies the instance in a row of the last result into the current memory
 * context.
 */
static void
instance_found(ProcessManager *pm, Key *key, uint64 row)
{
	bool isnull;

	key->stored = key->live = true;
	key->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(exec_value(row, 2, &isnull)));
	key->started_at = DatumGetTimestampTz(exec_value(row, 3, &isnull));
	key->updated_at = DatumGetTimestampTz(exec_value(row, 4, &isnull));
	key->tid = *(ItemPointer) DatumGetPointer(exec_value(row, 5, &isnull));
	if (pm->journal)
		key->entries = DatumGetInt64(exec_value(row, 6, &isnull));
}

/* ---------- remembered TIDs ---------- */

/* If reading an instance with the index takes this many pages or more, it is costly. */
#define INSTANCE_COSTLY 12

/* Has it been costly in this session, so that TIDs are remembered? */
static bool any_places = false;

static ItemPointer
instance_place(ProcessManager *pm, Key *key)
{
	return row_tid_of(ROW_TID_INSTANCE, pm->name, 0, key->name);
}

/*
 * Reads instances at their last TIDs, into the current memory context.  Returns
 * the keys of those that are not found there.
 *
 * This is done only if reading with the index has turned out to be costly,
 * which happens when another session's snapshot keeps many old versions.
 */
static List *
instance_recall(ProcessManager *pm, List *keys)
{
	struct
	{
		AttrNumber process_manager;
		AttrNumber key;
		AttrNumber state;
		AttrNumber started_at;
		AttrNumber updated_at;
		AttrNumber entries;
	} columns;
	List *others = NIL;
	RowScan scan;
	ListCell *lc;

	if (!any_places)
		return keys;
	/* The lock is kept: a row that has been read is written by its ctid. */
	scan_begin(&scan, "instance", "instance_key", RowExclusiveLock);
	columns.process_manager = scan_column(&scan, "process_manager");
	columns.key = scan_column(&scan, "key");
	columns.state = scan_column(&scan, "state");
	columns.started_at = scan_column(&scan, "started_at");
	columns.updated_at = scan_column(&scan, "updated_at");
	columns.entries = pm->journal ? scan_column(&scan, "entries") : 0;
	foreach(lc, keys)
	{
		Key *key = lfirst(lc);

		scan_reset(&scan);
		scan_where_text(&scan, columns.key, key->name);
		scan_where_text(&scan, columns.process_manager, pm->name);
		if (!scan_at(&scan, instance_place(pm, key)))
		{
			others = lappend(others, key);
			continue;
		}
		key->stored = key->live = true;
		key->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(scan.values[columns.state - 1]));
		key->started_at = DatumGetTimestampTz(scan.values[columns.started_at - 1]);
		key->updated_at = DatumGetTimestampTz(scan.values[columns.updated_at - 1]);
		if (pm->journal)
			key->entries = DatumGetInt64(scan.values[columns.entries - 1]);
		key->tid = scan.tuple->t_self;
	}
	scan_end(&scan);
	return others;
}

/*
 * How many pages this session has read so far.
 */
static int64
instance_pages(void)
{
	return pgBufferUsage.shared_blks_hit + pgBufferUsage.shared_blks_read;
}

/*
 * Called after keys have been looked up with the index.  "before" is the count
 * of pages before that.  If the lookup was costly, remembers the TIDs of the
 * rows.
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

/* LIMIT forces a lookup for each key, whatever the statistics of the table say. */
#define INSTANCE_SELECT_ALL(more)                                                                  \
	"SELECT i.key, i.state, i.started_at, i.updated_at, i.tid" more                                \
	" FROM pg_catalog.unnest($2) w(key) CROSS JOIN LATERAL "                                       \
	"(SELECT *, ctid AS tid FROM pm_catalog.instance "                                             \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1 "                                             \
	"AND key OPERATOR(pg_catalog.=) w.key LIMIT 1) i"

#define INSTANCE_SELECT_ONE(more)                                                                  \
	"SELECT key, state, started_at, updated_at, ctid" more " FROM pm_catalog.instance "            \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2"

void
instance_prefetch(ProcessManager *pm, Keys *keys)
{
	/* The second of each is for process managers with a journal. */
	static ExecStatement select_instances[] = {
		{NULL, INSTANCE_SELECT_ALL(""), 2, {TEXTOID, TEXTARRAYOID}},
		{NULL, INSTANCE_SELECT_ALL(", i.entries"), 2, {TEXTOID, TEXTARRAYOID}},
	};
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
	/* Instances that are not at their last TID are looked up with the index. */
	unknown = instance_recall(pm, unknown);
	if (unknown == NIL)
		return;
	before = instance_pages();
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = key_array(unknown);
	exec_statement(&select_instances[pm->journal], values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Key *key = key_get_text(keys, exec_text(row, 1));
		/* The state must outlive the SPI connection. */
		MemoryContext spi = MemoryContextSwitchTo(caller);

		instance_found(pm, key, row);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	instance_looked_up(pm, unknown, before);
}

/*
 * In a rehearsal, an instance that it has not changed is that of the real process manager.
 * It has no row of its own yet.
 */
static void
instance_load_origin(ProcessManager *pm, Key *key)
{
	ProcessManager origin = *pm;
	ListCell *lc;

	foreach(lc, pm->gone)
		if (strcmp(lfirst(lc), key->name) == 0)
			return;
	origin.name = unconstify(char *, pm->origin);
	origin.origin = NULL;
	key->loaded = false;
	instance_load(&origin, key);
	key->stored = false;
}

/*
 * The current memory context must be the batch's.
 */
void
instance_load(ProcessManager *pm, Key *key)
{
	static ExecStatement select_instance[] = {
		{NULL, INSTANCE_SELECT_ONE(""), 2, {TEXTOID, TEXTOID}},
		{NULL, INSTANCE_SELECT_ONE(", entries"), 2, {TEXTOID, TEXTOID}},
	};
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
	if (exec_statement(&select_instance[pm->journal], values, NULL) > 0)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		instance_found(pm, key, 0);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	instance_looked_up(pm, list_make1(key), before);
	if (!key->stored && pm->origin != NULL)
		instance_load_origin(pm, key);
}

/*
 * When an instance ends, the caller removes its timers.
 */
bool
instance_returned(Keys *keys, Key *key, ProcessManager *pm, Datum returned, bool isnull,
				  NullableDatum *result)
{
	MemoryContext caller;
	Datum state;

	if (isnull && key->live)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("handler %s returned null for a live instance", pm->handler),
						errhint("Return the new state, or pm.done() to end the instance.")));
	/* The handler has ignored an event of a key without an instance. */
	if (isnull)
		return false;
	if (done_is(returned, pm->handler, result))
	{
		/* An instance that began in this batch has no row to delete. */
		key->changed = key->stored;
		key->live = false;
		key->ended = true;
		return true;
	}

	/* It is in memory that is reset after each event. */
	caller = MemoryContextSwitchTo(keys->context);
	state = PointerGetDatum(PG_DETOAST_DATUM_COPY(returned));
	MemoryContextSwitchTo(caller);
	key->updated_at = within_time();
	if (key->live && !key->keep_state)
		pfree(DatumGetPointer(key->state));
	if (!key->live)
	{
		key->started_at = key->updated_at;
		key->entries = 0;
	}
	key->state = state;
	key->live = key->changed = true;
	return false;
}
