/*
 * read.c
 *		Reading and trimming a log by hand: pm.read, pm.read_stream,
 *		pm.high_water_mark, pm.trim.
 *
 * All of it with the caller's rights on the table.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "log_read.h"
#include "storage/lmgr.h"
#include "trimmed.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* The versions of so many streams are kept at once. */
#define READ_KEEP_CHUNK	1000

PG_FUNCTION_INFO_V1(pm_read);
PG_FUNCTION_INFO_V1(pm_read_stream);
PG_FUNCTION_INFO_V1(pm_high_water_mark);
PG_FUNCTION_INFO_V1(pm_trim);

static int64
read_arg_count(FunctionCallInfo fcinfo, int arg)
{
	int32		count;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	count = PG_GETARG_INT32(arg);
	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_count must not be negative"),
				 errhint("NULL means all.")));
	return count;
}

/*
 * A log that the caller may read.  What its transaction has written so far is
 * to be seen.
 */
static PmLog *
read_open(const char *name)
{
	PmLog	   *log = log_open_as(name, GetUserId());

	log_require_select(log, GetUserId());
	CommandCounterIncrement();
	return log;
}

/* What is to be returned. */
typedef struct ReadWanted
{
	ReturnSetInfo *rsinfo;
	LogTypes   *types;			/* NULL: all */
	int64		left;			/* so many more */
} ReadWanted;

static bool
read_take(void *arg, EventFields *event)
{
	ReadWanted *wanted = arg;

	if (wanted->types == NULL || log_types_have(wanted->types, event))
	{
		tuplestore_putvalues(wanted->rsinfo->setResult, wanted->rsinfo->setDesc, event->values,
							 event->nulls);
		wanted->left--;
	}
	return wanted->left > 0;
}

/*
 * pm.read(log, after, max_count, types)
 */
Datum
pm_read(PG_FUNCTION_ARGS)
{
	char	   *name = log_arg_name(fcinfo, 0);
	int64		after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	ReadWanted	wanted = {(ReturnSetInfo *) fcinfo->resultinfo, NULL, read_arg_count(fcinfo, 2)};
	LogTypes	types;
	PmLog	   *log;
	Highwater	mark;

	highwater_require_fresh_snapshots("pm.read");
	InitMaterializedSRF(fcinfo, 0);
	log = read_open(name);
	log_require_whole(log);
	if (!PG_ARGISNULL(3))
	{
		log_types_begin(&types, log, PG_GETARG_DATUM(3));
		wanted.types = &types;
	}
	mark = highwater_await(log->relid, log->seqid, HIGHWATER_EVERYBODY, log->name);
	if (wanted.left > 0 &&
		!log_index_read(log, after, mark.mark, PG_INT64_MAX, read_take, &wanted))
		log_index_refuse(log);
	return (Datum) 0;
}

/*
 * pm.read_stream(log, stream, after_version, max_count)
 */
Datum
pm_read_stream(PG_FUNCTION_ARGS)
{
	char	   *name = log_arg_name(fcinfo, 0);
	int64		after = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	ReadWanted	wanted = {(ReturnSetInfo *) fcinfo->resultinfo, NULL, read_arg_count(fcinfo, 3)};
	PmLog	   *log;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("stream must not be null")));
	log = read_open(name);
	if (*log->table == '\0')
		log_require_whole(log);
	if (wanted.left > 0)
		log_read_stream(log, PG_GETARG_DATUM(1), after, wanted.left, read_take, &wanted);
	return (Datum) 0;
}

/*
 * pm.high_water_mark(log)
 */
Datum
pm_high_water_mark(PG_FUNCTION_ARGS)
{
	PmLog	   *log;

	highwater_require_fresh_snapshots("pm.high_water_mark");
	log = log_get_as(log_arg_name(fcinfo, 0), GetUserId());
	log_require_select(log, GetUserId());
	log_require_whole(log);
	PG_RETURN_INT64(highwater_await(log->relid, log->seqid, HIGHWATER_EVERYBODY, log->name).mark);
}

/*
 * Deletes events.  The result is how many, and with it, a row each, the streams
 * that have none left, with their last versions.
 */
static char *
read_trim_statement(PmLog *log, int64 up_to, int64 count)
{
	return psprintf("WITH d AS (DELETE FROM ONLY %s WHERE %s OPERATOR(pg_catalog.=) ANY (ARRAY("
					"SELECT %s FROM ONLY %s WHERE %s OPERATOR(pg_catalog.<=) " INT64_FORMAT
					" ORDER BY %s LIMIT " INT64_FORMAT ")) RETURNING %s AS stream, %s AS version), "
					"s AS (SELECT d.stream, coalesce(pg_catalog.max(d.version), 0) AS version FROM d GROUP BY d.stream) "
					"SELECT n.count, e.stream, e.version FROM (SELECT pg_catalog.count(*) AS count FROM d) n "
					"LEFT JOIN (SELECT s.stream, s.version FROM s "
	/* LIMIT makes it a lookup for each stream. */
					"WHERE (SELECT 1 FROM ONLY %s r WHERE r.%s OPERATOR(pg_catalog.=) s.stream "
					"AND r.%s OPERATOR(pg_catalog.>) s.version LIMIT 1) IS NULL) e ON true",
					log->table, log->pos, log->pos, log->table, log->pos, up_to, log->pos, count,
					log->stream, log->version, log->table, log->stream, log->version);
}

/*
 * Keeps the versions that the statement above has returned.
 */
static void
read_keep_versions(PmLog *log)
{
	uint64		rows = SPI_processed;
	Datum	   *streams = palloc(sizeof(Datum) * READ_KEEP_CHUNK);
	Datum	   *versions = palloc(sizeof(Datum) * READ_KEEP_CHUNK);
	int			count = 0;
	TupleDesc	desc = SPI_tuptable->tupdesc;

	/* Planning it may have run code of the table's owner. */
	if (TupleDescAttr(desc, 1)->atttypid != TEXTOID || TupleDescAttr(desc, 2)->atttypid != INT8OID)
		log_refuse_types(log);
	for (uint64 row = 0; row < rows; row++)
	{
		bool		isnull;

		streams[count] = exec_value(row, 2, &isnull);
		if (isnull)
			continue;
		versions[count] = exec_value(row, 3, &isnull);
		if (++count < READ_KEEP_CHUNK)
			continue;
		trimmed_keep(log->name, streams, versions, count);
		count = 0;
		CHECK_FOR_INTERRUPTS();
	}
	trimmed_keep(log->name, streams, versions, count);
}

/*
 * pm.trim(log, up_to, max_count)
 *
 * The lock keeps a cursor from being set back, or a follower from being added,
 * to events that are about to go.
 */
Datum
pm_trim(PG_FUNCTION_ARGS)
{
	static ExecStatement slowest = {
		NULL,
		"SELECT process_manager, position FROM pm_catalog.cursor "
		"WHERE log OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.<) $2 "
		"ORDER BY position LIMIT 1",
		2, {TEXTOID, INT8OID}
	};
	static ExecStatement oldest_parked = {
		NULL,
		"SELECT p.name, k.position FROM pm_catalog.process_manager p CROSS JOIN LATERAL "
		"(SELECT position FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) p.name "
		"AND log OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.<=) $2 ORDER BY position LIMIT 1) k "
		"ORDER BY k.position LIMIT 1",
		2, {TEXTOID, INT8OID}
	};
	PmLog	   *log = log_get_as(log_arg_name(fcinfo, 0), GetUserId());
	int64		up_to = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int64		count = read_arg_count(fcinfo, 2);
	Datum		values[2];
	ExecScope	scope;
	AclResult	acl;
	uint64		deleted;
	bool		isnull;

	/* An old snapshot would not see where the cursors are. */
	highwater_require_fresh_snapshots("pm.trim");
	exec_require_writable("pm.trim");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("up_to must not be null")));
	log_require_select(log, GetUserId());
	acl = pg_class_aclcheck(log->relid, GetUserId(), ACL_DELETE);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, log->name);
	log_require_whole(log);
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, ShareLock);

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(log->name);
	values[1] = Int64GetDatum(up_to);
	if (exec_statement(&slowest, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot trim log \"%s\" up to position %lld", log->name, (long long) up_to),
				 errdetail("Process manager \"%s\" has handled it up to position %lld only.",
						   exec_text(0, 1), (long long) DatumGetInt64(exec_value(0, 2, &isnull)))));
	if (exec_statement(&oldest_parked, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot trim log \"%s\" up to position %lld", log->name, (long long) up_to),
				 errdetail("Process manager \"%s\" has parked the event at position %lld.",
						   exec_text(0, 1), (long long) DatumGetInt64(exec_value(0, 2, &isnull)))));
	exec_end(&scope);

	/*
	 * The owner's triggers do not run with the rights, nor with the search
	 * path, of another role.
	 */
	if (GetUserId() == log->owner)
		exec_begin_writer(&scope);
	else
		exec_begin_restricted(&scope, log->owner);
	exec_command(read_trim_statement(log, up_to, count));
	deleted = (uint64) DatumGetInt64(exec_value(0, 1, &isnull));
	read_keep_versions(log);
	exec_end(&scope);
	PG_RETURN_INT64((int64) deleted);
}
