/*
 * journal_purge.c
 *		Removes ended instances and entries of journals that need not be kept any longer.
 *
 * An ended instance is kept for keep_ended after its end, and an entry of a journal after
 * it was written.  They are removed a few at a time, so that no transaction takes a long
 * time.
 *
 * While another session holds an old snapshot, the rows that have been removed stay in the
 * indexes.  So the caller remembers up to where it has removed them, and each search
 * continues from there.  Rows with an earlier time can appear later, when the clock is set
 * back or by pm.catch_up(as_of).  So from time to time the search begins at the first row
 * again.
 *
 * No lock is needed: batches only add rows.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "manager/journal_purge.h"

/* At most this many rows of each table are removed at once. */
#define JOURNAL_PURGE_ROWS 1000

/* After this time, in ms, the search begins at the first row again. */
#define JOURNAL_PURGE_AGAIN (10 * 60 * 1000)

#define JOURNAL_PURGE(table, time)                                                                 \
	"WITH gone AS (DELETE FROM pm_catalog." table " WHERE ctid OPERATOR(pg_catalog.=) ANY "        \
	"(ARRAY(SELECT ctid FROM pm_catalog." table " "                                                \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND " time " OPERATOR(pg_catalog.<) $2 "      \
	"AND " time " OPERATOR(pg_catalog.>=) $3 ORDER BY process_manager, " time " LIMIT $4 "         \
	"FOR UPDATE SKIP LOCKED)) RETURNING " time ") "                                                \
	"SELECT pg_catalog.count(*), pg_catalog.max(" time ") FROM gone"

/*
 * Removes rows of one table.  Returns how many.
 */
static int64
journal_purge_table(ExecStatement *statement, ProcessManager *pm, TimestampTz before,
					TimestampTz *from)
{
	ExecScope scope;
	Datum values[4] = {CStringGetTextDatum(pm->name), TimestampTzGetDatum(before),
					   TimestampTzGetDatum(*from), Int64GetDatum(JOURNAL_PURGE_ROWS)};
	int64 count;
	Datum last;
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(statement, values, NULL);
	count = DatumGetInt64(exec_value(0, 1, &isnull));
	last = exec_value(0, 2, &isnull);
	if (!isnull)
		*from = DatumGetTimestampTz(last);
	exec_end(&scope);
	return count;
}

bool
journal_purge(ProcessManager *pm, JournalPurge *purge)
{
	static ExecStatement purge_ended = {NULL,
										JOURNAL_PURGE("ended", "ended_at"),
										4,
										{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}};
	static ExecStatement purge_journal = {NULL,
										  JOURNAL_PURGE("journal", "handled_at"),
										  4,
										  {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz before = now - pm->keep_ended * 1000;
	int64 ended;
	int64 entries;

	Assert(pm->keep_ended >= 0);
	if (purge->since > now || TimestampDifferenceExceeds(purge->since, now, JOURNAL_PURGE_AGAIN))
	{
		purge->ended = purge->journal = DT_NOBEGIN;
		purge->since = now;
	}
	ended = journal_purge_table(&purge_ended, pm, before, &purge->ended);
	entries = journal_purge_table(&purge_journal, pm, before, &purge->journal);
	return ended == JOURNAL_PURGE_ROWS || entries == JOURNAL_PURGE_ROWS;
}
