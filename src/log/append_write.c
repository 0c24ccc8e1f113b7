/*
 * append_write.c
 *		Writes events into a stream, and counts its versions.
 *
 * Writers of one stream are serialized by the unique index on (stream, version):
 * the second one to insert a version waits until the transaction of the first
 * has ended.  Then it takes the next version, or raises a version conflict if it
 * expected this one.  No other lock is taken, so writers of different streams do
 * not wait for each other.  A partitioned log has no such index; there the stream is
 * locked (stream_version.c).
 *
 * If pm.trim has deleted the events of a stream, its versions continue from the
 * last one (trimmed.c).
 *
 * A plain log is written directly (insert.c), any other log by an INSERT that
 * has the same effect.
 */
#include "pm.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "log/append_write.h"
#include "log/guard_row.h"
#include "log/log_open.h"
#include "log/log_trouble.h"
#include "log/stream_version.h"
#include "log/trimmed.h"

/*
 * Begins to write by an INSERT.
 */
static void
append_begin_insert(AppendCall *append)
{
	/* An INSERT names the table, and the name stays the same while the table is locked. */
	if (!XactReadOnly)
		append->log = log_lock(append->log, RowExclusiveLock);
	log_require_whole(append->log);
	exec_begin_writer(&append->scope);
}

void
append_open(AppendCall *append)
{
	append->direct = insert_begin(&append->insert, append->log);
	if (!append->direct)
		append_begin_insert(append);
}

void
append_close(AppendCall *append)
{
	if (append->direct)
		insert_end(&append->insert);
	else
		exec_end(&append->scope);
}

/*
 * Prepares an INSERT.  The log keeps the plan.
 */
static SPIPlanPtr
append_prepare(const char *sql)
{
	/* stream, expected version, type, data, metadata, version before, recorded_at */
	Oid argtypes[7] = {TEXTOID, INT8OID, TEXTOID, JSONBOID, JSONBOID, INT8OID, TIMESTAMPTZOID};

	return exec_prepare(sql, 7, argtypes);
}

/*
 * Where the log keeps the plan of a statement.  If recorded_at is given, it is another
 * plan.
 */
static SPIPlanPtr *
append_plan(AppendCall *append, int plan, int plan_at)
{
	return &append->log->plans[append->at ? plan_at : plan];
}

/*
 * The column and the value that the INSERT has in addition if recorded_at is given.
 */
static const char *
append_time_column(AppendCall *append)
{
	return append->at ? psprintf(", %s", append->log->recorded_at) : "";
}

static const char *
append_time_value(AppendCall *append)
{
	return append->at ? ", $7" : "";
}

COMPAT_NORETURN static void
append_discarded(AppendCall *append)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("log \"%s\" did not take the event", append->log->name),
					errhint("A rule or trigger on its table discards it.")));
}

/*
 * The version of a stream.  "version" is that of its events.  If that is 0, no
 * event has a version, and the stream's version is that of its trimmed events, if
 * any.  Must be called after the events have been read (trimmed.c says why).
 */
static int64
append_trimmed(AppendCall *append, int64 version, bool *any)
{
	append->trimmed = version == 0 && trimmed_find(append->log->name, append->stream, &version);
	*any |= append->trimmed;
	return version;
}

/*
 * The stream's current version, 0 if it has none; *any says whether it has events.
 */
static int64
append_version(AppendCall *append, bool *any)
{
	PmLog *log = append->log;
	Oid argtypes[1] = {TEXTOID};
	int64 actual;
	bool isnull;

	if (log->plans[LOG_PLAN_STREAM_VERSION] == NULL)
		log->plans[LOG_PLAN_STREAM_VERSION] =
			exec_prepare(psprintf("SELECT pg_catalog.max(%s), pg_catalog.count(*) FROM ONLY %s "
								  "WHERE %s OPERATOR(pg_catalog.=) $1",
								  log->version, log->table, log->stream),
						 1, argtypes);
	/* max() is NULL for a stream whose events have no versions, so they are counted too. */
	exec_plan(log->plans[LOG_PLAN_STREAM_VERSION], &append->stream, NULL, 0);
	*any = DatumGetInt64(exec_value(0, 2, &isnull)) > 0;
	actual = DatumGetInt64(exec_value(0, 1, &isnull));
	return append_trimmed(append, isnull ? 0 : actual, any);
}

/* See append_lost_to(). */
static TransactionId lost_to = InvalidTransactionId;

TransactionId
append_lost_to(void)
{
	return lost_to;
}

/*
 * The transaction of a subtransaction, if that is still known.
 */
static TransactionId
append_top(TransactionId xid)
{
	return TransactionIdIsNormal(xid) && TransactionIdFollowsOrEquals(xid, TransactionXmin) ?
			   SubTransGetTopmostTransaction(xid) :
			   xid;
}

/*
 * Raises a version conflict unless the actual version is the expected one.
 */
static void
append_compare(AppendCall *append, int64 actual, bool any)
{
	long long expected = append->expected;

	/*
	 * A stream must have no events if version 0 is expected.  Its events can be without
	 * a version.
	 */
	if (actual == append->expected && (actual > 0 || !any))
		return;
	lost_to = append->direct && !append->trimmed ? append_top(append->insert.last) :
												   InvalidTransactionId;
	if (append->trimmed)
		ereport(ERROR,
				(errcode(ERRCODE_PM_VERSION_CONFLICT),
				 errmsg("version conflict in stream \"%s\" of log \"%s\"",
						TextDatumGetCString(append->stream), append->log->name),
				 errdetail("Expected version %lld, actual version %lld; the events up to that have "
						   "been trimmed.",
						   expected, (long long) actual),
				 actual == 0 ?
					 errhint("Its events had no versions: append without an expected version.") :
					 errhint("Decide again, and append with this version.")));
	ereport(ERROR,
			(errcode(ERRCODE_PM_VERSION_CONFLICT),
			 errmsg("version conflict in stream \"%s\" of log \"%s\"",
					TextDatumGetCString(append->stream), append->log->name),
			 actual == 0 && any ?
				 errdetail("Expected version %lld, but the stream has events without a version.",
						   expected) :
				 errdetail("Expected version %lld, actual version %lld.", expected,
						   (long long) actual),
			 errhint("Read the stream again, decide again, and append with the version found.")));
}

void
append_require_room(AppendCall *append, int64 version, int count)
{
	if (version > PG_INT64_MAX - count)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("stream \"%s\" of log \"%s\" has no version left",
							   TextDatumGetCString(append->stream), append->log->name),
						errdetail("Its version is %lld; the largest is %lld.", (long long) version,
								  (long long) PG_INT64_MAX),
						errhint("Append to another stream.")));
}

/*
 * Another transaction has appended first, and the snapshot of this one does not
 * show that.
 */
void
append_not_serializable(void)
{
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					errmsg("could not serialize access due to concurrent update"),
					errhint("The transaction might succeed if retried.")));
}

/*
 * Checks a version after its insertion, in a stream that had no events.  After we
 * read the stream, another transaction may have appended events and committed,
 * and these may have been trimmed.  From the insertion on no other transaction
 * can take the version.
 */
static void
append_verify(AppendCall *append, int64 version)
{
	int64 trimmed;

	if (trimmed_find(append->log->name, append->stream, &trimmed) && trimmed >= version)
		append_not_serializable();
}

/*
 * append_first() for a plain log.
 */
static int64
append_first_directly(AppendCall *append, InsertEvent *event, int64 *version)
{
	for (;;)
	{
		bool any;
		int64 actual = insert_version(&append->insert, append->stream, &any);
		int64 position;

		actual = append_trimmed(append, actual, &any);
		if (append->expecting)
			append_compare(append, actual, any);
		append_require_room(append, actual, 1);
		*version = actual + 1;
		position = insert_event(&append->insert, append->stream, event, *version);
		if (position != 0 && (actual == 0 || append->trimmed))
			append_verify(append, *version);
		if (position != 0)
			return position;
		/* Another transaction has taken this version: read the stream again. */
		CHECK_FOR_INTERRUPTS();
		if (IsolationUsesXactSnapshot())
			append_not_serializable();
	}
}

/*
 * append_first() for a partitioned log: the version is found under a lock of the stream.
 */
static int64
append_first_locked(AppendCall *append, InsertEvent *event, int64 *version)
{
	StreamVersion stream;
	int64 actual;
	int64 position;

	/* The versions count, whether the caller sees their events or not. */
	if (!append->direct)
		log_require_select(append->log, GetUserId());
	stream_version_lock(&stream, append->log, append->stream,
						append->direct ? &append->insert : NULL);
	if (stream.newer)
		append_not_serializable();
	append->insert.last = stream.last;
	actual = append_trimmed(append, stream.version, &stream.any);
	if (append->expecting)
		append_compare(append, actual, stream.any);
	append_require_room(append, actual, 1);
	*version = actual + 1;
	position = append_next(append, event, *version);
	if (actual == 0 || append->trimmed)
		append_verify(append, *version);
	/* From here on others find the event. */
	stream_version_unlock(&stream);
	return position;
}

/*
 * INSERT of an event with the version after $2, if $2 is the version of the
 * stream. $6 is the version of the stream's trimmed events.
 */
static SPIPlanPtr
append_plan_expecting(AppendCall *append)
{
	PmLog *log = append->log;
	SPIPlanPtr *plan = append_plan(append, LOG_PLAN_APPEND_EXPECTING, LOG_PLAN_APPEND_EXPECTING_AT);

	if (*plan == NULL)
		*plan = append_prepare(psprintf(
			"INSERT INTO %s (%s, %s, %s, %s, %s%s) "
			"SELECT $1, $2 OPERATOR(pg_catalog.+) 1, $3, $4, $5%s "
			"WHERE $2 OPERATOR(pg_catalog.=) greatest((SELECT pg_catalog.max(%s) FROM ONLY %s "
			"WHERE %s OPERATOR(pg_catalog.=) $1), $6) "
			"AND ($2 OPERATOR(pg_catalog.>) 0 OR NOT EXISTS (SELECT FROM ONLY %s "
			"WHERE %s OPERATOR(pg_catalog.=) $1)) "
			"ON CONFLICT (%s, %s) DO NOTHING RETURNING %s, %s",
			log->table, log->stream, log->version, log->type, log->data, log->metadata,
			append_time_column(append), append_time_value(append), log->version, log->table,
			log->stream, log->table, log->stream, log->stream, log->version, log->pos,
			log->version));
	return *plan;
}

/*
 * INSERT of an event with the stream's next version, which is above $6.
 */
static SPIPlanPtr
append_plan_any(AppendCall *append)
{
	PmLog *log = append->log;
	SPIPlanPtr *plan = append_plan(append, LOG_PLAN_APPEND, LOG_PLAN_APPEND_AT);

	if (*plan == NULL)
		*plan = append_prepare(psprintf(
			"INSERT INTO %s (%s, %s, %s, %s, %s%s) "
			"SELECT $1, greatest((SELECT pg_catalog.max(%s) FROM ONLY %s "
			"WHERE %s OPERATOR(pg_catalog.=) $1), $6) OPERATOR(pg_catalog.+) 1, $3, $4, $5%s "
			"ON CONFLICT (%s, %s) DO NOTHING RETURNING %s, %s",
			log->table, log->stream, log->version, log->type, log->data, log->metadata,
			append_time_column(append), log->version, log->table, log->stream,
			append_time_value(append), log->stream, log->version, log->pos, log->version));
	return *plan;
}

/*
 * The version of trimmed events after which the INSERT counts.  The stream's
 * events are read first, because the INSERT reads them again, and may find them
 * trimmed.
 */
static int64
append_base(AppendCall *append)
{
	int64 base = 0;
	bool any = false;
	bool last = append->expecting && append->expected == PG_INT64_MAX;

	/* Where nothing has ever been trimmed, the INSERT alone finds the version. */
	if (trimmed_any() || last)
		base = append_version(append, &any);
	/* The INSERT would add 1 to the largest version before it compared it. */
	if (append->expecting && (append->trimmed || last))
		append_compare(append, base, any);
	if (append->expecting)
		append_require_room(append, append->expected, 1);
	return base;
}

/*
 * ON CONFLICT makes the INSERT wait for a transaction that has inserted the same
 * version, and then insert nothing.
 */
int64
append_first(AppendCall *append, InsertEvent *event, int64 *version)
{
	SPIPlanPtr plan;
	Datum values[7];
	bool isnull;
	int64 base;
	int64 seen = -1;

	if (append->log->partitioned)
		return append_first_locked(append, event, version);
	if (append->direct)
		return append_first_directly(append, event, version);

	base = append_base(append);
	plan = append->expecting ? append_plan_expecting(append) : append_plan_any(append);
	values[0] = append->stream;
	values[1] = Int64GetDatum(append->expected);
	values[2] = event->type;
	values[3] = event->data;
	values[4] = event->metadata;
	values[5] = Int64GetDatum(base);
	values[6] = TimestampTzGetDatum(append->time);
	while (exec_plan(plan, values, NULL, 0) == 0)
	{
		bool any;
		int64 actual = append_version(append, &any);

		values[5] = Int64GetDatum(actual);
		if (append->expecting)
			append_compare(append, actual, any);
		/* If no other transaction has taken the version, a rule or trigger discards the row. */
		if (append->expecting || actual == seen)
			append_discarded(append);
		seen = actual;
		CHECK_FOR_INTERRUPTS();
		if (IsolationUsesXactSnapshot())
			append_not_serializable();
	}
	*version = DatumGetInt64(exec_value(0, 2, &isnull));
	append_verify(append, *version);
	return DatumGetInt64(exec_value(0, 1, &isnull));
}

/*
 * INSERT of an event with this version, without a check.
 */
static SPIPlanPtr
append_plan_rest(AppendCall *append)
{
	PmLog *log = append->log;
	SPIPlanPtr *plan = append_plan(append, LOG_PLAN_APPEND_REST, LOG_PLAN_APPEND_REST_AT);

	if (*plan == NULL)
		*plan = append_prepare(psprintf("INSERT INTO %s (%s, %s, %s, %s, %s%s) "
										"VALUES ($1, $2, $3, $4, $5%s) RETURNING %s",
										log->table, log->stream, log->version, log->type, log->data,
										log->metadata, append_time_column(append),
										append_time_value(append), log->pos));
	return *plan;
}

/*
 * A partition turns out to be no plain table: continues with an INSERT.
 */
static void
append_leave_direct(AppendCall *append)
{
	insert_end(&append->insert);
	append->direct = false;
	append_begin_insert(append);
}

/*
 * The row of the event before is not committed, or the stream is locked, so no other
 * pm.append can take this version.
 */
int64
append_next(AppendCall *append, InsertEvent *event, int64 version)
{
	PmLog *log = append->log;
	Datum values[7] = {append->stream,
					   Int64GetDatum(version),
					   event->type,
					   event->data,
					   event->metadata,
					   0,
					   TimestampTzGetDatum(append->time)};
	bool isnull;

	if (append->direct)
	{
		int64 position = insert_event(&append->insert, append->stream, event, version);

		if (position == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("version %lld of stream \"%s\" of log \"%s\" exists already",
							(long long) version, TextDatumGetCString(append->stream), log->name)));
		if (position != INSERT_NOT_PLAIN)
			return position;
		append_leave_direct(append);
	}
	if (append->log->partitioned)
		guard_row_expect(append->log->relid, version);
	if (exec_plan(append_plan_rest(append), values, NULL, 0) != 1)
		append_discarded(append);
	guard_row_expect_none();
	return DatumGetInt64(exec_value(0, 1, &isnull));
}
