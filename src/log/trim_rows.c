/*
 * trim_rows.c
 *		Removes rows about events that pm.trim has deleted.
 *
 * Called after the events have been deleted.  The rows are read before the log, so the
 * event of each row that was read is in the log unless it has been deleted.  The oldest
 * events are deleted first, so if no event of a chunk is missing, no later chunk needs to
 * be read.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/scan.h"
#include "log/log_index.h"
#include "log/log_index_ask.h"
#include "log/trim_rows.h"

/* How many positions are in a chunk. */
#define TRIM_ROWS_CHUNK 1000

/*
 * The lowest positions of a log that have a row, from one position up to another.
 */
static int
trim_rows_list(const TrimRows *rows, const char *log, int64 from, int64 up_to, int64 *positions)
{
	RowScan scan;
	int count = 0;

	scan_begin(&scan, rows->table, rows->index, AccessShareLock);
	scan_where_text(&scan, rows->log, log);
	scan_from_id(&scan, rows->position, from);
	while (count < TRIM_ROWS_CHUNK && scan_next(&scan))
	{
		positions[count] = DatumGetInt64(scan.values[rows->position - 1]);
		if (positions[count] > up_to)
			break;
		count++;
	}
	scan_end(&scan);
	return count;
}

static void
trim_rows_remove(TrimRows *rows, const char *log, Datum *positions, int count)
{
	Datum values[2];

	values[0] = CStringGetTextDatum(log);
	values[1] = PointerGetDatum(construct_array(positions, count, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) exec_as_owner(&rows->remove, values, NULL);
}

void
trim_rows(TrimRows *rows, PmLog *log, int64 up_to)
{
	int64 *positions = palloc(sizeof(int64) * TRIM_ROWS_CHUNK);
	Datum *gone = palloc(sizeof(Datum) * TRIM_ROWS_CHUNK);
	int64 from = PG_INT64_MIN;
	int count;
	int ngone;

	do
	{
		CHECK_FOR_INTERRUPTS();
		count = trim_rows_list(rows, log->name, from, up_to, positions);
		ngone = 0;
		for (int i = 0; i < count; i++)
			if (!log_index_has(log, positions[i]))
				gone[ngone++] = Int64GetDatum(positions[i]);
		if (ngone > 0)
			trim_rows_remove(rows, log->name, gone, ngone);
		if (count > 0)
			from = positions[count - 1];
	} while (count == TRIM_ROWS_CHUNK && ngone > 0);
	pfree(positions);
	pfree(gone);
}
