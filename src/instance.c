/*
 * instance.c
 *		The state that a process manager keeps for a key.
 *
 * Within a batch an instance is read once, however many events touch it, and
 * written once, with the cursor.  Only who holds the unit's lock reads or
 * writes it, so that nobody changes it in between.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "exec.h"
#include "instance.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "within.h"

/* So many instances, or bytes of state, are written in one statement. */
#define INSTANCE_CHUNK			1000
#define INSTANCE_CHUNK_BYTES	(16 * 1024 * 1024)

PG_FUNCTION_INFO_V1(pm_done);

static Datum
instance_marker(void)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"$pm\": \"done\"}"));
}

/*
 * pm.done(): a value that no process keeps as its state.
 */
Datum
pm_done(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(instance_marker());
}

static bool
instance_is_done(Datum state)
{
	Jsonb	   *a = DatumGetJsonbP(state);
	Jsonb	   *b = DatumGetJsonbP(instance_marker());

	return VARSIZE(a) == VARSIZE(b) && compareJsonbContainers(&a->root, &b->root) == 0;
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
		"SELECT i.key, i.state, i.started_at, i.updated_at FROM pg_catalog.unnest($2) w(key) CROSS JOIN LATERAL "
		"(SELECT * FROM pm_catalog.instance WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND key OPERATOR(pg_catalog.=) w.key LIMIT 1) i",
		2, {TEXTOID, TEXTARRAYOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	List	   *unknown = NIL;
	ListCell   *lc;
	ExecScope	scope;
	Datum		values[2];
	bool		isnull;

	foreach(lc, keys->all)
	{
		Key		   *key = lfirst(lc);

		if (key->loaded)
			continue;
		key->loaded = true;
		unknown = lappend(unknown, key);
	}
	if (unknown == NIL)
		return;
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = key_array(unknown);
	exec_statement(&select_instances, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Key		   *key = key_get_text(keys, exec_text(row, 1));
		Datum		state = exec_value(row, 2, &isnull);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		key->stored = key->live = true;
		key->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(state));
		key->started_at = DatumGetTimestampTz(exec_value(row, 3, &isnull));
		key->updated_at = DatumGetTimestampTz(exec_value(row, 4, &isnull));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
}

/*
 * One instance, into the current memory context, which must be the batch's.
 */
void
instance_load(ProcessManager *pm, Key *key)
{
	static ExecStatement select_instance = {
		NULL,
		"SELECT state, started_at, updated_at FROM pm_catalog.instance "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
		2, {TEXTOID, TEXTOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope	scope;
	Datum		values[2];
	bool		isnull;

	if (key->loaded)
		return;
	key->loaded = true;
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key->name);
	if (exec_statement(&select_instance, values, NULL) > 0)
	{
		Datum		state = exec_value(0, 1, &isnull);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		key->stored = key->live = true;
		key->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(state));
		key->started_at = DatumGetTimestampTz(exec_value(0, 2, &isnull));
		key->updated_at = DatumGetTimestampTz(exec_value(0, 3, &isnull));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
}

/*
 * Takes in what the handler has returned.  Returns whether the instance has
 * ended, so that its timers must go.
 */
bool
instance_returned(Keys *keys, Key *key, ProcessManager *pm, Datum result, bool isnull)
{
	MemoryContext caller;
	Datum		state;

	if (isnull && key->live)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("handler %s returned null for a live instance", pm->handler),
				 errhint("Return the new state, or pm.done() to end the instance.")));
	if (isnull)
		return false;
	if (instance_is_done(result))
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

static void
instance_write(ProcessManager *pm, List *keys)
{
	static ExecStatement upsert = {
		NULL,
		"INSERT INTO pm_catalog.instance (process_manager, key, state, started_at, updated_at) "
		"SELECT $1, u.key, u.state, u.started_at, u.updated_at "
		"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) "
		"u(key, state, started_at, updated_at) "
		"ON CONFLICT (process_manager, key) DO UPDATE SET state = EXCLUDED.state, started_at = EXCLUDED.started_at, "
		"updated_at = EXCLUDED.updated_at",
		5, {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}
	};
	int			count = list_length(keys);
	Datum	   *states = palloc(sizeof(Datum) * count);
	Datum	   *started = palloc(sizeof(Datum) * count);
	Datum	   *updated = palloc(sizeof(Datum) * count);
	ExecScope	scope;
	Datum		values[5];

	for (int i = 0; i < count; i++)
	{
		Key		   *key = list_nth(keys, i);

		states[i] = key->state;
		started[i] = TimestampTzGetDatum(key->started_at);
		updated[i] = TimestampTzGetDatum(key->updated_at);
	}
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = key_array(keys);
	values[2] = PointerGetDatum(construct_array(states, count, JSONBOID, -1, false, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(started, count, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[4] = PointerGetDatum(construct_array(updated, count, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	exec_statement(&upsert, values, NULL);
	exec_end(&scope);
}

static void
instance_delete(ProcessManager *pm, List *keys)
{
	static ExecStatement delete_instances = {
		NULL,
		"DELETE FROM pm_catalog.instance d USING (SELECT i.ctid FROM pg_catalog.unnest($2) w(key) CROSS JOIN LATERAL "
		"(SELECT ctid FROM pm_catalog.instance WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		"AND key OPERATOR(pg_catalog.=) w.key LIMIT 1) i) g WHERE d.ctid OPERATOR(pg_catalog.=) g.ctid",
		2, {TEXTOID, TEXTARRAYOID}
	};
	ExecScope	scope;
	Datum		values[2];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = key_array(keys);
	exec_statement(&delete_instances, values, NULL);
	exec_end(&scope);
}

/*
 * Writes what the batch has changed.
 */
void
instance_save(ProcessManager *pm, Keys *keys)
{
	List	   *changed = NIL;
	List	   *ended = NIL;
	Size		bytes = 0;
	ListCell   *lc;

	foreach(lc, keys->all)
	{
		Key		   *key = lfirst(lc);

		if (!key->changed)
			continue;
		key->changed = false;
		key->stored = key->live;
		if (!key->live)
		{
			ended = lappend(ended, key);
			continue;
		}
		changed = lappend(changed, key);
		bytes += VARSIZE_ANY(DatumGetPointer(key->state));
		if (list_length(changed) < INSTANCE_CHUNK && bytes < INSTANCE_CHUNK_BYTES)
			continue;
		instance_write(pm, changed);
		changed = NIL;
		bytes = 0;
	}
	if (changed != NIL)
		instance_write(pm, changed);
	if (ended != NIL)
		instance_delete(pm, ended);
}
