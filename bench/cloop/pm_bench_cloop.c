/*
 * pm_bench_cloop.c
 *		The ceiling that pm is measured against: a loop in C that does the least
 *		that can be done, and the handlers in C.
 *
 * bench_c_loop reads a batch in position order, calls the handler for each
 * event by fmgr, moves a cursor row, and commits, until nothing is left.  It
 * has no high-water mark, no policy, no watch over the handler's time, and no
 * mark of what is in hand.  What a handler does is visible to the next call, as
 * in pm.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_noop);
PG_FUNCTION_INFO_V1(bench_insert);
PG_FUNCTION_INFO_V1(bench_c_loop);

/*
 * bench_noop(event)
 */
Datum
bench_noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_VOID();
}

/*
 * bench_insert(event): one row in bench.effect.
 */
Datum
bench_insert(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	HeapTupleHeader event = PG_GETARG_HEAPTUPLEHEADER(0);
	Datum		values[3];
	bool		isnull;

	values[0] = GetAttributeByName(event, "position", &isnull);
	values[1] = GetAttributeByName(event, "stream", &isnull);
	values[2] = GetAttributeByName(event, "data", &isnull);
	SPI_connect();
	if (plan == NULL)
	{
		Oid			argtypes[3] = {INT8OID, TEXTOID, JSONBOID};

		plan = SPI_prepare("INSERT INTO bench.effect (position, stream, amount) "
						   "VALUES ($1, $2, ($3 OPERATOR(pg_catalog.->>) 'amount')::pg_catalog.int4)", 3, argtypes);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not plan");
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert");
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * Calls the handler for what was read; returns the last position.
 */
static int64
handle(FmgrInfo *handler, SPITupleTable *read, uint64 count, TupleDesc event_desc, MemoryContext per_event)
{
	LOCAL_FCINFO(fcinfo, 1);
	MemoryContext caller = MemoryContextSwitchTo(per_event);
	int64		last = 0;

	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		last = DatumGetInt64(SPI_getbinval(read->vals[i], read->tupdesc, 2, &isnull));
		InitFunctionCallInfoData(*fcinfo, handler, 1, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = heap_copy_tuple_as_datum(read->vals[i], event_desc);
		fcinfo->args[0].isnull = false;
		(void) FunctionCallInvoke(fcinfo);
		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
		MemoryContextReset(per_event);
	}
	MemoryContextSwitchTo(caller);
	return last;
}

/*
 * A plan that outlives the transaction.
 */
static SPIPlanPtr
plan_of(char *sql, int nargs, Oid *argtypes)
{
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, argtypes);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not plan: %s", sql);
	return plan;
}

/*
 * bench_c_loop(log, handler, batch, name): name is that of the row of
 * bench.cursor, from which it goes on.
 */
Datum
bench_c_loop(PG_FUNCTION_ARGS)
{
	char	   *log = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			function = PG_GETARG_OID(1);
	int			batch = PG_GETARG_INT32(2);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(3));
	Oid			read_types[2] = {INT8OID, INT4OID};
	Oid			move_types[1] = {INT8OID};
	SPIPlanPtr	read_plan,
				move_plan;
	MemoryContext per_event;
	TupleDesc	event_desc;
	FmgrInfo	handler;
	Oid		   *argtypes;
	int			nargs;
	int64		position;
	bool		isnull;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) || castNode(CallContext, fcinfo->context)->atomic)
		elog(ERROR, "CALL it outside of a transaction");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	per_event = AllocSetContextCreate(CurrentMemoryContext, "event", ALLOCSET_DEFAULT_SIZES);
	fmgr_info_cxt(function, &handler, CurrentMemoryContext);
	(void) get_func_signature(function, &argtypes, &nargs);
	event_desc = lookup_rowtype_tupdesc_copy(argtypes[0], -1);
	read_plan = plan_of(psprintf("SELECT %s::text, position, stream, version, type, data, metadata, recorded_at "
								 "FROM %s WHERE position > $1 ORDER BY position LIMIT $2",
								 quote_literal_cstr(log), log), 2, read_types);
	move_plan = plan_of(psprintf("UPDATE bench.cursor SET position = $1 WHERE name = %s", quote_literal_cstr(name)),
						1, move_types);
	SPI_execute(psprintf("SELECT position FROM bench.cursor WHERE name = %s", quote_literal_cstr(name)), true, 1);
	if (SPI_processed != 1)
		elog(ERROR, "no such cursor: %s", name);
	position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

	for (;;)
	{
		Datum		values[2] = {Int64GetDatum(position), Int32GetDatum(batch)};
		SPITupleTable *read;

		/* The one of the portal has gone with the last commit. */
		PushActiveSnapshot(GetTransactionSnapshot());
		SPI_execute_plan(read_plan, values, NULL, true, 0);
		read = SPI_tuptable;
		if (SPI_processed == 0)
		{
			PopActiveSnapshot();
			break;
		}
		position = handle(&handler, read, SPI_processed, event_desc, per_event);
		PopActiveSnapshot();
		SPI_freetuptable(read);

		values[0] = Int64GetDatum(position);
		if (SPI_execute_plan(move_plan, values, NULL, false, 0) != SPI_OK_UPDATE || SPI_processed != 1)
			elog(ERROR, "could not move the cursor");
		SPI_commit();
	}
	SPI_finish();
	PG_RETURN_VOID();
}
