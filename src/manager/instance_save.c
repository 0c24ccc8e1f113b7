/*
 * instance_save.c
 *		Writes the instances that a batch has changed.
 *
 * Assumes, as instance.c does, that no other session writes the rows of a
 * locked unit.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
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
 * If a row has changed since the batch read it, it was changed by hand.  Then
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

#define INSTANCE_UPDATE(assignment, array, column)                                                 \
	"UPDATE pm_catalog.instance i "                                                                \
	"SET state = u.state, started_at = u.started_at, updated_at = u.updated_at" assignment         \
	" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "       \
	"pg_catalog.unnest($5), pg_catalog.unnest($6)" array                                           \
	") u(tid, state, started_at, updated_at, key" column ") "                                      \
	"WHERE i.ctid OPERATOR(pg_catalog.=) u.tid AND i.process_manager OPERATOR(pg_catalog.=) $1 "   \
	"AND i.key OPERATOR(pg_catalog.=) u.key"

/*
 * Writes rows: inserts new ones, and updates those that have been read by their
 * ctid, since no other session writes them while the unit is locked.
 */
static void
instance_write(ProcessManager *pm, List *keys, bool stored)
{
	/* The second of each is for process managers with a journal. */
	static ExecStatement insert_instances[] = {
		{NULL,
		 INSTANCE_INSERT("", "", ""),
		 5,
		 {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}},
		{NULL,
		 INSTANCE_INSERT(", entries", ", u.entries", ", pg_catalog.unnest($7)"),
		 7,
		 {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
		  TEXTARRAYOID, INT8ARRAYOID}},
	};
	static ExecStatement update_instances[] = {
		{NULL,
		 INSTANCE_UPDATE("", "", ""),
		 6,
		 {TEXTOID, TIDARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
		  TEXTARRAYOID}},
		{NULL,
		 INSTANCE_UPDATE(", entries = u.entries", ", pg_catalog.unnest($7)", ", entries"),
		 7,
		 {TEXTOID, TIDARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
		  TEXTARRAYOID, INT8ARRAYOID}},
	};
	ExecStatement *statements = stored ? update_instances : insert_instances;
	int count = list_length(keys);
	Datum *tids = palloc(sizeof(Datum) * count);
	Datum *states = palloc(sizeof(Datum) * count);
	Datum *started = palloc(sizeof(Datum) * count);
	Datum *updated = palloc(sizeof(Datum) * count);
	Datum *entries = palloc(sizeof(Datum) * count);
	ExecScope scope;
	Datum values[7];

	for (int i = 0; i < count; i++)
	{
		Key *key = list_nth(keys, i);

		tids[i] = PointerGetDatum(&key->tid);
		states[i] = key->state;
		started[i] = TimestampTzGetDatum(key->started_at);
		updated[i] = TimestampTzGetDatum(key->updated_at);
		entries[i] = Int64GetDatum(key->entries);
	}
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = stored ? instance_array(tids, count, TIDOID) : key_array(keys);
	values[2] = instance_array(states, count, JSONBOID);
	values[3] = instance_array(started, count, TIMESTAMPTZOID);
	values[4] = instance_array(updated, count, TIMESTAMPTZOID);
	/* Compare the key as well, in case another row is at this ctid. */
	values[5] = key_array(keys);
	values[6] = pm->journal ? instance_array(entries, count, INT8OID) : (Datum) 0;
	instance_require(pm, exec_statement(&statements[pm->journal], values, NULL) == count);
	exec_end(&scope);
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
	for (int stored = 0; stored < 2; stored++)
		if (chunk->rows[stored] != NIL)
			instance_write(pm, chunk->rows[stored], stored);
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
	/* The handler's statements are to see the rows, too. */
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}
