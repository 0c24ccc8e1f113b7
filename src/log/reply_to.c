/*
 * reply_to.c
 *		The rows that say to which instance an answer to an event goes.
 *
 * When the handler of an instance appends an event to a log that consumers follow, this
 * writes a row that says so, and pm.reply (manager/reply.c) finds the instance there.  The
 * metadata of the event says so too, but any role that may append can write such metadata.
 *
 * The row has the id of the process manager, so that one that is registered later under the
 * same name does not get the answers.  A row stays for as long as its event is in the log.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/bulk.h"
#include "base/exec.h"
#include "base/scan.h"
#include "base/within.h"
#include "log/reply_to.h"
#include "log/trim_rows.h"

/* The columns of pm_catalog.reply_to by number. */
enum
{
	REPLY_TO_LOG = 1,
	REPLY_TO_POSITION,
	REPLY_TO_MANAGER,
	REPLY_TO_KEY,
	REPLY_TO_TYPE,
	REPLY_TO_METADATA
};
#define REPLY_TO_COLUMNS REPLY_TO_METADATA

static const char *const reply_to_columns[] = {
	[REPLY_TO_LOG - 1] = "log",
	[REPLY_TO_POSITION - 1] = "position",
	[REPLY_TO_MANAGER - 1] = "process_manager",
	[REPLY_TO_KEY - 1] = "key",
	[REPLY_TO_TYPE - 1] = "type",
	[REPLY_TO_METADATA - 1] = "metadata",
};

StaticAssertDecl(lengthof(reply_to_columns) == REPLY_TO_COLUMNS,
				 "reply_to_columns[] must have all columns");

#define REPLY_TO_TABLE "reply_to"
#define REPLY_TO_INDEX "reply_to_pkey"

void
reply_to_add(const char *log, int manager, const char *key, const InsertEvent *events,
			 const Datum *positions, int count)
{
	static BulkTable table =
		{REPLY_TO_TABLE, reply_to_columns, REPLY_TO_COLUMNS, 0, 0, InvalidOid, 0};
	Bulk bulk;

	bulk_begin(&bulk, &table);
	for (int i = 0; i < count; i++)
	{
		(void) bulk_add(&bulk);
		bulk_set(&bulk, REPLY_TO_LOG, CStringGetTextDatum(log), false);
		bulk_set(&bulk, REPLY_TO_POSITION, positions[i], false);
		bulk_set(&bulk, REPLY_TO_MANAGER, Int32GetDatum(manager), false);
		bulk_set(&bulk, REPLY_TO_KEY, CStringGetTextDatum(key), false);
		bulk_set(&bulk, REPLY_TO_TYPE, events[i].type, false);
		bulk_set(&bulk, REPLY_TO_METADATA, within_carried(events[i].metadata), false);
	}
	bulk_end(&bulk);
}

bool
reply_to_find(const char *log, int64 position, ReplyTo *to)
{
	static ScanTable table = {
		.name = REPLY_TO_TABLE,
		.index = REPLY_TO_INDEX,
		.columns = reply_to_columns,
		.ncolumns = REPLY_TO_COLUMNS,
	};
	RowScan scan;
	bool found;

	scan_begin_table(&scan, &table, AccessShareLock);
	scan_where_text(&scan, REPLY_TO_LOG, log);
	scan_where_int8(&scan, REPLY_TO_POSITION, position);
	found = scan_next(&scan);
	if (found)
	{
		to->manager = DatumGetInt32(scan.values[REPLY_TO_MANAGER - 1]);
		to->key = scan_text(&scan, REPLY_TO_KEY);
		to->type = scan_text(&scan, REPLY_TO_TYPE);
		to->metadata = PointerGetDatum(PG_DETOAST_DATUM_COPY(scan.values[REPLY_TO_METADATA - 1]));
	}
	scan_end(&scan);
	return found;
}

/*
 * Version 0.1.0 of the extension does not have the table.
 */
static bool
reply_to_exists(void)
{
	return OidIsValid(exec_catalog_relid(REPLY_TO_TABLE));
}

void
reply_to_trim(PmLog *log, int64 up_to)
{
	static TrimRows rows = {
		.table = REPLY_TO_TABLE,
		.index = REPLY_TO_INDEX,
		.log = REPLY_TO_LOG,
		.position = REPLY_TO_POSITION,
		.remove = {NULL,
				   "DELETE FROM pm_catalog.reply_to WHERE log OPERATOR(pg_catalog.=) $1 "
				   "AND position OPERATOR(pg_catalog.=) ANY ($2)",
				   2,
				   {TEXTOID, INT8ARRAYOID}},
	};

	if (reply_to_exists())
		trim_rows(&rows, log, up_to);
}

void
reply_to_remove(const char *log, int64 from, int64 to)
{
	static ExecStatement remove = {NULL,
								   "DELETE FROM pm_catalog.reply_to "
								   "WHERE log OPERATOR(pg_catalog.=) $1 "
								   "AND position OPERATOR(pg_catalog.>=) $2 "
								   "AND position OPERATOR(pg_catalog.<=) $3",
								   3,
								   {TEXTOID, INT8OID, INT8OID}};
	Datum values[3] = {CStringGetTextDatum(log), Int64GetDatum(from), Int64GetDatum(to)};

	if (reply_to_exists())
		(void) exec_as_owner(&remove, values, NULL);
}

void
reply_to_forget(const char *log)
{
	static ExecStatement forget = {
		NULL,
		"DELETE FROM pm_catalog.reply_to WHERE log OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(log)};

	if (reply_to_exists())
		(void) exec_as_owner(&forget, values, NULL);
}
