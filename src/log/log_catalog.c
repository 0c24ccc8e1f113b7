/*
 * log_catalog.c
 *		Reads and writes the catalog of logs, pm_catalog.log.
 *
 * All statements about the catalog are in this file.  They run as the owner of
 * the extension.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
#include "base/scan.h"
#include "log/append_id.h"
#include "log/appends.h"
#include "log/erasure.h"
#include "log/kept_event.h"
#include "log/log.h"
#include "log/log_catalog.h"
#include "log/log_name.h"
#include "log/name_right.h"
#include "log/promotion.h"
#include "log/replica_origin.h"
#include "log/reply_to.h"
#include "log/trimmed.h"

/*
 * Was the sequence last accepted in this database of this cluster?  The two
 * columns of the result are system_identifier and database.
 */
static bool
log_catalog_at_home(uint64 row, int system_identifier, int database)
{
	bool isnull;

	return DatumGetInt64(exec_value(row, system_identifier, &isnull)) ==
			   (int64) GetSystemIdentifier() &&
		   DatumGetObjectId(exec_value(row, database, &isnull)) == MyDatabaseId;
}

/* The columns of pm_catalog.log, in the order of CREATE TABLE. */
enum
{
	LOG_CATALOG_NAME = 1,
	LOG_CATALOG_SOURCE,
	LOG_CATALOG_COLUMNS, /* those with names of columns follow in the order of EVENT_ */
	LOG_CATALOG_SEQUENCE_FILE = LOG_CATALOG_COLUMNS + EVENT_RECORDED_AT - EVENT_POSITION + 1,
	LOG_CATALOG_SYSTEM_IDENTIFIER,
	LOG_CATALOG_DATABASE,
	LOG_CATALOG_CREATED_AT,
	LOG_CATALOG_KIND, /* the first one that 0.1.0 lacks */
	LOG_CATALOG_FILTER,
	LOG_CATALOG_ATTACHED_BY,
	LOG_CATALOG_ATTACHED_BY_NAME,
	LOG_CATALOG_SEQUENCE_XMIN,
	LOG_CATALOG_TITLE
};

static const char *const log_catalog_columns[] =
	{"name",	   "source",   "pos",		  "stream",		   "version",			"type",
	 "data",	   "metadata", "recorded_at", "sequence_file", "system_identifier", "database",
	 "created_at", "kind",	   "filter",	  "attached_by",   "attached_by_name",	"sequence_xmin",
	 "title"};

static ScanTable log_catalog = {"log",
								"log_pkey",
								log_catalog_columns,
								lengthof(log_catalog_columns),
								LOG_CATALOG_CREATED_AT,
								InvalidOid,
								0};

/*
 * Reads what only attached logs have.  A role of another cluster is found by its name.
 */
static void
log_catalog_row_attached(RowScan *scan, LogRow *row)
{
	row->attached_by = InvalidOid;
	row->sequence_xmin = InvalidTransactionId;
	if (!scan->nulls[LOG_CATALOG_ATTACHED_BY - 1])
		row->attached_by = DatumGetObjectId(scan->values[LOG_CATALOG_ATTACHED_BY - 1]);
	if (!row->at_home && !scan->nulls[LOG_CATALOG_ATTACHED_BY_NAME - 1])
		row->attached_by = get_role_oid(NameStr(*DatumGetName(
											scan->values[LOG_CATALOG_ATTACHED_BY_NAME - 1])),
										true);
	if (!scan->nulls[LOG_CATALOG_SEQUENCE_XMIN - 1])
		row->sequence_xmin = DatumGetTransactionId(scan->values[LOG_CATALOG_SEQUENCE_XMIN - 1]);
}

static void
log_catalog_form_row(RowScan *scan, LogRow *row)
{
	row->name = scan_text(scan, LOG_CATALOG_NAME);
	row->relid = DatumGetObjectId(scan->values[LOG_CATALOG_SOURCE - 1]);
	row->sequence_file = DatumGetObjectId(scan->values[LOG_CATALOG_SEQUENCE_FILE - 1]);
	row->at_home = DatumGetInt64(scan->values[LOG_CATALOG_SYSTEM_IDENTIFIER - 1]) ==
					   (int64) GetSystemIdentifier() &&
				   DatumGetObjectId(scan->values[LOG_CATALOG_DATABASE - 1]) == MyDatabaseId;
	for (int i = EVENT_POSITION; i <= EVENT_RECORDED_AT; i++)
		row->columns[i] = scan_text(scan, LOG_CATALOG_COLUMNS + i - EVENT_POSITION);
	row->kind = scan->nulls[LOG_CATALOG_KIND - 1] ?
					LOG_ORDINARY :
					(LogKind) DatumGetChar(scan->values[LOG_CATALOG_KIND - 1]);
	row->filter = scan_text(scan, LOG_CATALOG_FILTER);
	row->title = scan_text(scan, LOG_CATALOG_TITLE);
	if (row->title == NULL)
		row->title = row->name;
	log_catalog_row_attached(scan, row);
}

/*
 * The latest one, whatever the isolation level.
 */
static Snapshot
log_catalog_snapshot(void)
{
	(void) GetTransactionSnapshot();
	return GetLatestSnapshot();
}

/*
 * Reads the row without SQL, because a session may need the rows of thousands of logs.
 */
static bool
log_catalog_row_of(const char *name, LogRow *row)
{
	RowScan scan;
	bool found;

	scan_begin_table(&scan, &log_catalog, AccessShareLock);
	scan_where_text(&scan, LOG_CATALOG_NAME, name);
	/* Like PostgreSQL's catalogs: in a transaction with an old snapshot, too. */
	scan_use_snapshot(&scan, log_catalog_snapshot());
	found = scan_next(&scan);
	if (found)
		log_catalog_form_row(&scan, row);
	scan_end(&scan);
	return found;
}

bool
log_catalog_row(const char *name, LogRow *row)
{
	char *first;

	if (log_catalog_row_of(name, row))
		return true;
	first = log_name_first(name);
	return first != NULL && log_catalog_row_of(first, row);
}

List *
log_catalog_rows(void)
{
	List *rows = NIL;
	RowScan scan;

	scan_begin_table(&scan, &log_catalog, AccessShareLock);
	while (scan_next(&scan))
	{
		LogRow *row = palloc(sizeof(LogRow));

		log_catalog_form_row(&scan, row);
		rows = lappend(rows, row);
	}
	scan_end(&scan);
	return rows;
}

Oid
log_catalog_table(const char *name)
{
	char *first = log_name_first(name);
	static ExecStatement select_source = {NULL,
										  "SELECT source::pg_catalog.oid FROM pm_catalog.log "
										  "WHERE name OPERATOR(pg_catalog.=) $1",
										  1,
										  {TEXTOID}};
	Datum values[1];
	ExecScope scope;
	Oid relid = InvalidOid;
	bool isnull;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(first != NULL ? first : name);
	if (exec_statement(&select_source, values, NULL) == 1)
		relid = DatumGetObjectId(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return relid;
}

/*
 * The text that a statement returns in its first row, in the caller's memory
 * context.  NULL if it is null, or there is no row.
 */
static char *
log_catalog_text(ExecStatement *statement, Datum *values)
{
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	char *text = NULL;

	exec_begin_owner(&scope);
	if (exec_statement(statement, values, NULL) > 0)
		text = exec_text(0, 1);
	if (text != NULL)
		text = MemoryContextStrdup(caller, text);
	exec_end(&scope);
	return text;
}

char *
log_catalog_name(Oid relid)
{
	char *name = NULL;
	RowScan scan;

	scan_begin(&scan, "log", "log_source", AccessShareLock);
	scan_where_oid(&scan, LOG_CATALOG_SOURCE, relid);
	scan_use_snapshot(&scan, log_catalog_snapshot());
	if (scan_next(&scan))
		name = scan_text(&scan, LOG_CATALOG_NAME);
	scan_end(&scan);
	return name;
}

char *
log_catalog_followers(const char *name)
{
	static ExecStatement followers =
		{NULL,
		 "SELECT pg_catalog.string_agg(DISTINCT process_manager, ', ') FROM pm_catalog.cursor "
		 "WHERE log OPERATOR(pg_catalog.=) $1",
		 1,
		 {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(name)};

	return log_catalog_text(&followers, values);
}

bool
log_catalog_hold(const char *name)
{
	static ExecStatement hold = {NULL,
								 "SELECT FROM pm_catalog.log "
								 "WHERE name OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
								 1,
								 {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(name)};

	return exec_as_owner(&hold, values, NULL) > 0;
}

static void *
log_catalog_form_source(uint64 row)
{
	LogSource *source = palloc(sizeof(LogSource));
	bool isnull;

	source->name = exec_text(row, 1);
	source->relid = DatumGetObjectId(exec_value(row, 2, &isnull));
	source->at_home = log_catalog_at_home(row, 3, 4);
	return source;
}

List *
log_catalog_list(void)
{
	static ExecStatement sources = {NULL,
									"SELECT name, source::pg_catalog.oid, system_identifier, "
									"database FROM pm_catalog.log ORDER BY name",
									0,
									{InvalidOid}};

	return exec_list(&sources, NULL, NULL, log_catalog_form_source);
}

List *
log_catalog_tables(void)
{
	List *relids = NIL;
	ListCell *lc;

	foreach(lc, log_catalog_list())
		relids = lappend_oid(relids, ((LogSource *) lfirst(lc))->relid);
	return relids;
}

/*
 * Tells every backend, at commit, that the catalog has changed.
 */
static void
log_catalog_changed(void)
{
	CacheInvalidateRelcacheByRelid(exec_catalog_relid("log"));
}

void
log_catalog_insert(const char *name, Oid relid, Oid sequence_file)
{
	static ExecStatement insert_log =
		{NULL,
		 "INSERT INTO pm_catalog.log (name, source, sequence_file, system_identifier, database, "
		 "pos, stream, version, type, data, metadata, recorded_at) "
		 "VALUES ($1, $2::pg_catalog.oid::pg_catalog.regclass, $3, $4, $5, "
		 "$6, $7, $8, $9, $10, $11, $12)",
		 12,
		 {TEXTOID, OIDOID, OIDOID, INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		  TEXTOID, TEXTOID}};
	ExecScope scope;
	Datum values[12];

	log_name_claim(name);
	name_right_require(name);
	erasure_refuse_log(name);
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(relid);
	values[2] = ObjectIdGetDatum(sequence_file);
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		values[5 + i - EVENT_POSITION] = CStringGetTextDatum(log_columns[i].name);
	exec_statement(&insert_log, values, NULL);
	log_catalog_changed();
	exec_end(&scope);
	promotion_begin(relid);
}

static void
log_catalog_text_or_null(Datum *values, char *nulls, int i, const char *text)
{
	nulls[i] = text != NULL ? ' ' : 'n';
	values[i] = text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
}

void
log_catalog_insert_kind(const LogRow *row)
{
	static ExecStatement insert_log =
		{NULL,
		 "INSERT INTO pm_catalog.log (name, source, sequence_file, system_identifier, database, "
		 "pos, stream, version, type, data, metadata, recorded_at, kind, filter, "
		 "attached_by, attached_by_name, sequence_xmin) "
		 "VALUES ($1, $2::pg_catalog.oid::pg_catalog.regclass, $3, $4, $5, "
		 "$6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::pg_catalog.name, $17)",
		 17,
		 {TEXTOID, OIDOID, OIDOID, INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		  TEXTOID, TEXTOID, CHAROID, TEXTOID, OIDOID, TEXTOID, XIDOID}};
	ExecScope scope;
	Datum values[17];
	char nulls[] = "                 ";

	log_name_claim(row->name);
	name_right_require(row->name);
	erasure_refuse_log(row->name);
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(row->name);
	values[1] = ObjectIdGetDatum(row->relid);
	values[2] = ObjectIdGetDatum(row->sequence_file);
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		log_catalog_text_or_null(values, nulls, 5 + i - EVENT_POSITION, row->columns[i]);
	values[12] = CharGetDatum(row->kind);
	log_catalog_text_or_null(values, nulls, 13, row->filter);
	values[14] = ObjectIdGetDatum(row->attached_by);
	nulls[14] = OidIsValid(row->attached_by) ? ' ' : 'n';
	log_catalog_text_or_null(values, nulls, 15,
							 OidIsValid(row->attached_by) ?
								 GetUserNameFromId(row->attached_by, false) :
								 NULL);
	values[16] = TransactionIdGetDatum(row->sequence_xmin);
	nulls[16] = TransactionIdIsValid(row->sequence_xmin) ? ' ' : 'n';
	exec_statement(&insert_log, values, nulls);
	log_catalog_changed();
	exec_end(&scope);
	/* Which program writes an attached log, and at which positions, is not under our control. */
	if (row->kind != LOG_ATTACHED)
		promotion_begin(row->relid);
}

void
log_catalog_accept(const char *name, Oid sequence_file)
{
	static ExecStatement accept =
		{NULL,
		 "UPDATE pm_catalog.log SET sequence_file = $2, system_identifier = $3, database = $4 "
		 "WHERE name OPERATOR(pg_catalog.=) $1",
		 4,
		 {TEXTOID, OIDOID, INT8OID, OIDOID}};
	ExecScope scope;
	Datum values[4];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(sequence_file);
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = ObjectIdGetDatum(MyDatabaseId);
	exec_statement(&accept, values, NULL);
	log_catalog_changed();
	exec_end(&scope);
	erasure_adopt(name);
}

void
log_catalog_accept_attached(const LogRow *row)
{
	static ExecStatement accept =
		{NULL,
		 "UPDATE pm_catalog.log SET sequence_file = $2, system_identifier = $3, database = $4, "
		 "sequence_xmin = $5 WHERE name OPERATOR(pg_catalog.=) $1",
		 5,
		 {TEXTOID, OIDOID, INT8OID, OIDOID, XIDOID}};
	ExecScope scope;
	Datum values[5];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(row->name);
	values[1] = ObjectIdGetDatum(row->sequence_file);
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = ObjectIdGetDatum(MyDatabaseId);
	values[4] = TransactionIdGetDatum(row->sequence_xmin);
	exec_statement(&accept, values, NULL);
	log_catalog_changed();
	exec_end(&scope);
}

void
log_catalog_partition(const char *name, Oid relid, Oid sequence_file)
{
	static ExecStatement move =
		{NULL,
		 "UPDATE pm_catalog.log SET source = $2::pg_catalog.oid::pg_catalog.regclass, "
		 "sequence_file = $3, kind = $4 WHERE name OPERATOR(pg_catalog.=) $1",
		 4,
		 {TEXTOID, OIDOID, OIDOID, CHAROID}};
	ExecScope scope;
	Datum values[4];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(relid);
	values[2] = ObjectIdGetDatum(sequence_file);
	values[3] = CharGetDatum(LOG_PARTITIONED);
	exec_statement(&move, values, NULL);
	log_catalog_changed();
	exec_end(&scope);
}

void
log_catalog_delete(const char *name)
{
	static ExecStatement delete_log =
		{NULL, "DELETE FROM pm_catalog.log WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
	ExecScope scope;
	Datum values[1];
	LogRow row;

	if (log_catalog_row(name, &row))
		name_right_release(name, row.relid, row.kind == LOG_ATTACHED ? &row.attached_by : NULL);
	replica_origin_forget(name);
	promotion_forget(name);
	log_name_forget(name);
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	exec_statement(&delete_log, values, NULL);
	log_catalog_changed();
	exec_end(&scope);
	/* A log that is made later under this name has nothing to do with the old streams and ids. */
	trimmed_forget(name);
	append_id_forget(name);
	kept_event_forget(name);
	reply_to_forget(name);
	appends_forget_log(name);
}
