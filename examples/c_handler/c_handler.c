/*
 * c_handler.c
 *		A handler in C: record_event(pm.event) writes a row for each event.
 *
 * It runs as the process manager's owner, in the transaction that moves the
 * cursor.  What it does through SPI commits with the cursor, or not at all; to
 * fail, it raises an error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* From PostgreSQL 18 on, a library has a name and a version. */
#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "c_handler", .version = "1.0");
#else
PG_MODULE_MAGIC;
#endif

PG_FUNCTION_INFO_V1(record_event);

/* The plan, made once in each session for the function with this OID. */
static SPIPlanPtr insert_plan = NULL;
static Oid insert_plan_of = InvalidOid;

/*
 * Returns the plan of the INSERT.  Needs an open SPI connection.
 *
 * The table is in the function's schema.  All names are qualified, because the
 * search_path is that of the role as which the handler runs.
 */
static SPIPlanPtr
record_plan(Oid function)
{
	Oid argtypes[5] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, JSONBOID};
	char *sql;
	SPIPlanPtr plan;
	int rc;

	if (insert_plan != NULL && insert_plan_of == function)
		return insert_plan;

	sql = psprintf(
		"INSERT INTO %s (log, position, stream, type, amount) "
		"VALUES ($1, $2, $3, $4, ($5 OPERATOR(pg_catalog.->>) 'amount')::pg_catalog.numeric)",
		quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), "handled"));
	plan = SPI_prepare(sql, lengthof(argtypes), argtypes);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	rc = SPI_keepplan(plan);
	if (rc != 0)
		elog(ERROR, "SPI_keepplan failed: %s", SPI_result_code_string(rc));

	/* The function has been re-created since: the old plan names the old table. */
	if (insert_plan != NULL)
		SPI_freeplan(insert_plan);
	insert_plan = plan;
	insert_plan_of = function;
	return plan;
}

/*
 * Returns a field of the event.  An event always has a log, position, stream and type,
 * and data that is not NULL; version and recorded_at are not used here.
 */
static Datum
record_field(HeapTupleHeader event, const char *name)
{
	bool isnull;
	Datum value = GetAttributeByName(event, name, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the event has no %s", name)));
	return value;
}

/*
 * record_event(event)
 */
Datum
record_event(PG_FUNCTION_ARGS)
{
	HeapTupleHeader event = PG_GETARG_HEAPTUPLEHEADER(0);
	Datum values[5];
	int rc;

	values[0] = record_field(event, "log");
	values[1] = record_field(event, "position");
	values[2] = record_field(event, "stream");
	values[3] = record_field(event, "type");
	values[4] = record_field(event, "data");

	rc = SPI_connect();
	if (rc != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed: %s", SPI_result_code_string(rc));

	/* With read_only it would not see what the handler did for earlier events. */
	rc = SPI_execute_plan(record_plan(fcinfo->flinfo->fn_oid), values, NULL, false, 0);
	if (rc != SPI_OK_INSERT)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION), errmsg("the row was not inserted"),
				 errhint("A rule or trigger on the table swallows it.")));

	rc = SPI_finish();
	if (rc != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed: %s", SPI_result_code_string(rc));
	PG_RETURN_VOID();
}
