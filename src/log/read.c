/*
 * read.c
 *		pm.read, pm.read_stream and pm.high_water_mark.
 *
 * They run with the rights of the caller.
 */
#include "pm.h"

#include "access/xact.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/argument.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/log_read.h"
#include "log/log_trouble.h"

PG_FUNCTION_INFO_V1(pm_read);
PG_FUNCTION_INFO_V1(pm_read_stream);
PG_FUNCTION_INFO_V1(pm_high_water_mark);

/*
 * Opens a log that the caller may read, so that the caller also sees what its
 * transaction has written so far.
 */
static PmLog *
read_open(const char *name)
{
	PmLog *log = log_open_as(name, GetUserId());

	log_require_select(log, GetUserId());
	CommandCounterIncrement();
	return log;
}

/* What is to be returned. */
typedef struct ReadWanted
{
	ReturnSetInfo *rsinfo;
	LogTypes *types; /* NULL: all */
	int64 left;		 /* how many more events */
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
	char *name = log_arg_name(fcinfo, 0);
	int64 after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	ReadWanted wanted = {(ReturnSetInfo *) fcinfo->resultinfo, NULL, log_arg_count(fcinfo, 2)};
	LogTypes types;
	PmLog *log;
	Highwater mark;

	highwater_require_fresh_snapshots("pm.read");
	InitMaterializedSRF(fcinfo, 0);
	log = read_open(name);
	log_require_whole(log);
	if (!PG_ARGISNULL(3))
	{
		log_types_begin(&types, log, PG_GETARG_DATUM(3));
		wanted.types = &types;
	}
	/* The mark comes first: the scan takes its snapshot after that. */
	mark = highwater_await(log->relid, log->seqid, HIGHWATER_EVERYBODY, log->name);
	if (wanted.left > 0 && !log_index_read(log, after, mark.mark, PG_INT64_MAX, read_take, &wanted))
		log_index_refuse(log);
	return (Datum) 0;
}

/*
 * pm.read_stream(log, stream, after_version, max_count)
 */
Datum
pm_read_stream(PG_FUNCTION_ARGS)
{
	char *name = log_arg_name(fcinfo, 0);
	int64 after = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	ReadWanted wanted = {(ReturnSetInfo *) fcinfo->resultinfo, NULL, log_arg_count(fcinfo, 3)};
	PmLog *log;

	InitMaterializedSRF(fcinfo, 0);
	argument_not_null(fcinfo, 1, "stream");
	/* A stream can be read even if the mark cannot be relied on: only the table is needed. */
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
	PmLog *log;

	highwater_require_fresh_snapshots("pm.high_water_mark");
	log = log_get_as(log_arg_name(fcinfo, 0), GetUserId());
	log_require_select(log, GetUserId());
	log_require_whole(log);
	PG_RETURN_INT64(highwater_await(log->relid, log->seqid, HIGHWATER_EVERYBODY, log->name).mark);
}
