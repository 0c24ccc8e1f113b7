/*
 * instance_save.c
 *		Writes the instances that a batch has changed.
 *
 * Assumes, as instance.c does, that no other session writes the rows of a
 * locked unit.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
#include "base/scan.h"
#include "manager/instance_save.h"

/* One statement writes at most this many instances, or bytes of state. */
#define INSTANCE_CHUNK		 1000
#define INSTANCE_CHUNK_BYTES (16 * 1024 * 1024)

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
 * If a row has changed since the batch read it, a superuser has changed it.  Then
 * the batch is run again, and reads the row again.
 */
static void
instance_require(ProcessManager *pm, bool unchanged)
{
	if (!unchanged)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("instances of process manager \"%s\" have been changed by another session",
						pm->name)));
}

#define INSTANCE_INSERT(column, value, array)                                                      \
	"INSERT INTO pm_catalog.instance (process_manager, key, state, started_at, updated_at" column  \
	") SELECT $1, u.key, u.state, u.started_at, u.updated_at" value                                \
	" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), "                              \
	"pg_catalog.unnest($4), pg_catalog.unnest($5)" array                                           \
	") u(key, state, started_at, updated_at" column ")"

/*
 * Inserts rows.
 */
static void
instance_insert(ProcessManager *pm, List *keys)
{
	/* The second is for process managers with a journal. */
	static ExecStatement insert_instances[] = {
		{NULL,
		 INSTANCE_INSERT("", "", ""),
		 5,
		 {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}},
		{NULL,
		 INSTANCE_INSERT(", entries", ", u.entries", ", pg_catalog.unnest($6)"),
		 6,
		 {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
		  INT8ARRAYOID}},
	};
	int count = list_length(keys);
	Datum *states = palloc(sizeof(Datum) * count);
	Datum *started = palloc(sizeof(Datum) * count);
	Datum *updated = palloc(sizeof(Datum) * count);
	Datum *entries = palloc(sizeof(Datum) * count);
	ExecScope scope;
	Datum values[6];

	for (int i = 0; i < count; i++)
	{
		Key *key = list_nth(keys, i);

		states[i] = key->state;
		started[i] = TimestampTzGetDatum(key->started_at);
		updated[i] = TimestampTzGetDatum(key->updated_at);
		entries[i] = Int64GetDatum(key->entries);
	}
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = key_array(keys);
	values[2] = instance_array(states, count, JSONBOID);
	values[3] = instance_array(started, count, TIMESTAMPTZOID);
	values[4] = instance_array(updated, count, TIMESTAMPTZOID);
	values[5] = pm->journal ? instance_array(entries, count, INT8OID) : (Datum) 0;
	if (exec_statement(&insert_instances[pm->journal], values, NULL) != count)
		elog(ERROR, "could not insert instances");
	exec_end(&scope);
}

static void
instance_set(RowScan *scan, bool *replace, const char *name, Datum value)
{
	AttrNumber column = scan_column(scan, name);

	scan->values[column - 1] = value;
	scan->nulls[column - 1] = false;
	replace[column - 1] = true;
}

/*
 * Moves the index on the keys to the end, after those that are updated as usual.
 */
static void
instance_set_apart(ResultRelInfo *target, Relation key_index)
{
	int last = target->ri_NumIndices - 1;

	for (int i = 0; i < last; i++)
		if (RelationGetRelid(target->ri_IndexRelationDescs[i]) == RelationGetRelid(key_index))
		{
			Relation index = target->ri_IndexRelationDescs[i];
			IndexInfo *info = target->ri_IndexRelationInfo[i];

			target->ri_IndexRelationDescs[i] = target->ri_IndexRelationDescs[last];
			target->ri_IndexRelationInfo[i] = target->ri_IndexRelationInfo[last];
			target->ri_IndexRelationDescs[last] = index;
			target->ri_IndexRelationInfo[last] = info;
		}
}

/*
 * Makes the index entries of a new version of a row.  The key is that of the old version, so it
 * need not be checked whether another row has it.  The check would read all old versions of the
 * row that the snapshot of another session keeps from being removed.
 */
static void
instance_index_row(ResultRelInfo *target, TupleTableSlot *slot, EState *estate,
				   TU_UpdateIndexes indexes)
{
	int last = target->ri_NumIndices - 1;
	Relation index = target->ri_IndexRelationDescs[last];
	IndexInfo *info = target->ri_IndexRelationInfo[last];
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	target->ri_NumIndices = last;
	list_free(compat_update_index_tuples(target, slot, estate, indexes));
	target->ri_NumIndices = last + 1;
	/* Only an index that is not a B-tree may need an entry for such a version. */
	if (HeapTupleIsHeapOnly(ExecFetchSlotHeapTuple(slot, false, NULL)))
		return;
	FormIndexDatum(info, slot, estate, values, nulls);
	(void) index_insert(index, values, nulls, &slot->tts_tid, target->ri_RelationDesc,
						UNIQUE_CHECK_NO, true, info);
}

/*
 * Updates a row that has been found.  False if another session has changed it since.
 */
static bool
instance_update_row(ResultRelInfo *target, ItemPointer tid, TupleTableSlot *slot, EState *estate,
					Snapshot snapshot)
{
	TM_FailureData failure;
	LockTupleMode mode;
	TU_UpdateIndexes indexes;

	if (compat_tuple_update(target->ri_RelationDesc, tid, slot, GetCurrentCommandId(true), snapshot,
							InvalidSnapshot, true, &failure, &mode, &indexes) != TM_Ok)
		return false;
	if (indexes != TU_None)
		instance_index_row(target, slot, estate, indexes);
	return true;
}

/*
 * Updates rows at the TIDs at which they have been read, since no other session writes
 * them while the unit is locked.  A statement would cost twice as much.
 */
static void
instance_update(ProcessManager *pm, List *keys)
{
	EState *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *slot;
	RowScan scan;
	bool *replace;
	ListCell *lc;

	scan_begin(&scan, "instance", "instance_key", RowExclusiveLock);
	/* A superuser may have added indexes of any kind, for example on a part of the state. */
	InitResultRelInfo(target, scan.rel, 0, NULL, 0);
	ExecOpenIndices(target, false);
	instance_set_apart(target, scan.index);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(scan.rel), &TTSOpsHeapTuple);
	replace = palloc0(sizeof(bool) * RelationGetNumberOfAttributes(scan.rel));
	foreach(lc, keys)
	{
		Key *key = lfirst(lc);

		scan_reset(&scan);
		/* Compare the key as well, in case another row is at this TID. */
		scan_where_text(&scan, scan_column(&scan, "key"), key->name);
		scan_where_text(&scan, scan_column(&scan, "process_manager"), pm->name);
		instance_require(pm, scan_only_at(&scan, &key->tid));
		instance_set(&scan, replace, "state", key->state);
		instance_set(&scan, replace, "started_at", TimestampTzGetDatum(key->started_at));
		instance_set(&scan, replace, "updated_at", TimestampTzGetDatum(key->updated_at));
		if (pm->journal)
			instance_set(&scan, replace, "entries", Int64GetDatum(key->entries));
		ExecStoreHeapTuple(heap_modify_tuple(scan.tuple, RelationGetDescr(scan.rel), scan.values,
											 scan.nulls, replace),
						   slot, true);
		instance_require(pm, instance_update_row(target, &key->tid, slot, estate, scan.snapshot));
		ResetPerTupleExprContext(estate);
		ExecClearTuple(slot);
	}
	pfree(replace);
	ExecDropSingleTupleTableSlot(slot);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
	scan_end(&scan);
	CommandCounterIncrement();
}

static void
instance_delete(ProcessManager *pm, List *keys)
{
	static ExecStatement delete_instances = {
		NULL,
		"DELETE FROM pm_catalog.instance i "
		"USING ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u(tid, key) "
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

/* The rows that one statement will write. */
typedef struct InstanceChunk
{
	List *rows[2]; /* new ones, and those that are stored */
	Size bytes;	   /* of their states */
} InstanceChunk;

static void
instance_write_chunk(ProcessManager *pm, InstanceChunk *chunk)
{
	if (chunk->rows[false] != NIL)
		instance_insert(pm, chunk->rows[false]);
	if (chunk->rows[true] != NIL)
		instance_update(pm, chunk->rows[true]);
	memset(chunk, 0, sizeof(*chunk));
}

/*
 * Writes what has changed of these keys, a limited number of rows at a time.
 */
static void
instance_save_list(ProcessManager *pm, List *keys)
{
	InstanceChunk chunk = {{NIL, NIL}, 0};
	List *ended = NIL;
	ListCell *lc;

	foreach(lc, keys)
	{
		Key *key = lfirst(lc);

		if (!key->changed)
			continue;
		key->changed = false;
		/* An instance that has ended is marked as changed only if it has a row. */
		if (!key->live)
		{
			ended = lappend(ended, key);
			continue;
		}
		chunk.rows[key->stored] = lappend(chunk.rows[key->stored], key);
		chunk.bytes += VARSIZE_ANY(DatumGetPointer(key->state));
		if (list_length(chunk.rows[key->stored]) >= INSTANCE_CHUNK ||
			chunk.bytes >= INSTANCE_CHUNK_BYTES)
			instance_write_chunk(pm, &chunk);
	}
	instance_write_chunk(pm, &chunk);
	if (ended != NIL)
		instance_delete(pm, ended);
}

void
instance_save(ProcessManager *pm, Keys *keys)
{
	instance_save_list(pm, keys->all);
}

/*
 * After that the TIDs of the rows are not known, so an instance that is needed
 * again is read again.
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
	/* The handler's statements must see the rows, too. */
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}
