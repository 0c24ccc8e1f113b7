/*
 * append_id.c
 *		The rows that say which event has which id.
 *
 * pm_catalog.append_id has a row for each id that pm.append was given: the log, the
 * digest of the id, since an id may be too long for an index, and the position of its
 * event.  The transaction that writes the event writes the row.  append_once.c says what
 * follows from that.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/scan.h"
#include "log/append_id.h"
#include "log/trim_rows.h"

/* The columns, in the order in which CREATE TABLE has them. */
enum
{
	APPEND_ID_LOG = 1,
	APPEND_ID_ID,
	APPEND_ID_POSITION
};

#define APPEND_ID_TABLE "append_id"

bool
append_id_exists(void)
{
	return OidIsValid(exec_catalog_relid(APPEND_ID_TABLE));
}

static void
append_id_scan(RowScan *scan, const char *log, Datum digest)
{
	scan_begin(scan, APPEND_ID_TABLE, "append_id_pkey", AccessShareLock);
	scan_where_text(scan, APPEND_ID_LOG, log);
	scan_where_bytea(scan, APPEND_ID_ID, digest);
}

bool
append_id_look(const char *log, Datum digest, int64 *position, TransactionId *other)
{
	RowScan scan;
	bool found;

	append_id_scan(&scan, log, digest);
	scan_use_dirty(&scan);
	found = scan_next(&scan);
	*other = InvalidTransactionId;
	if (found)
	{
		*position = DatumGetInt64(scan.values[APPEND_ID_POSITION - 1]);
		*other = TransactionIdIsValid(scan.dirty.xmin) ? scan.dirty.xmin : scan.dirty.xmax;
	}
	scan_end(&scan);
	return found;
}

bool
append_id_seen(const char *log, Datum digest, int64 position)
{
	RowScan scan;
	bool seen;

	append_id_scan(&scan, log, digest);
	seen = scan_next(&scan) && DatumGetInt64(scan.values[APPEND_ID_POSITION - 1]) == position;
	scan_end(&scan);
	return seen;
}

bool
append_id_record(const char *log, Datum digest, int64 position, const int64 *before)
{
	static ExecStatement record =
		{NULL,
		 "INSERT INTO pm_catalog.append_id AS a (log, id, position) VALUES ($1, $2, $3) "
		 "ON CONFLICT (log, id) DO UPDATE SET position = EXCLUDED.position "
		 "WHERE a.position OPERATOR(pg_catalog.=) $4",
		 4,
		 {TEXTOID, BYTEAOID, INT8OID, INT8OID}};
	char nulls[4] = {' ', ' ', ' ', before == NULL ? 'n' : ' '};
	Datum values[4];

	values[0] = CStringGetTextDatum(log);
	values[1] = digest;
	values[2] = Int64GetDatum(position);
	values[3] = Int64GetDatum(before == NULL ? 0 : *before);
	return exec_as_owner(&record, values, nulls) > 0;
}

void
append_id_trim(PmLog *log, int64 up_to)
{
	static TrimRows rows = {
		.table = APPEND_ID_TABLE,
		.index = "append_id_position",
		.log = APPEND_ID_LOG,
		.position = APPEND_ID_POSITION,
		.remove = {NULL,
				   "DELETE FROM pm_catalog.append_id WHERE log OPERATOR(pg_catalog.=) $1 "
				   "AND position OPERATOR(pg_catalog.=) ANY ($2)",
				   2,
				   {TEXTOID, INT8ARRAYOID}},
	};

	if (append_id_exists())
		trim_rows(&rows, log, up_to);
}

void
append_id_remove(const char *log, int64 from, int64 to)
{
	static ExecStatement remove = {NULL,
								   "DELETE FROM pm_catalog.append_id "
								   "WHERE log OPERATOR(pg_catalog.=) $1 "
								   "AND position OPERATOR(pg_catalog.>=) $2 "
								   "AND position OPERATOR(pg_catalog.<=) $3",
								   3,
								   {TEXTOID, INT8OID, INT8OID}};
	Datum values[3] = {CStringGetTextDatum(log), Int64GetDatum(from), Int64GetDatum(to)};

	if (append_id_exists())
		(void) exec_as_owner(&remove, values, NULL);
}

void
append_id_forget(const char *log)
{
	static ExecStatement forget =
		{NULL,
		 "DELETE FROM pm_catalog.append_id WHERE log OPERATOR(pg_catalog.=) $1",
		 1,
		 {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};

	if (append_id_exists())
		(void) exec_as_owner(&forget, values, NULL);
}
