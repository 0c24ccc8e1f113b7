/*
 * log_check.c
 *		Checks whether a log is as the high-water mark needs it.
 *
 * The high-water mark relies on properties of the table, its sequence and its
 * guard (see the head of highwater.c).  They are checked here, as far as that
 * is possible, whenever a backend builds a log (log_build.c).
 */
#include "pm.h"

#include "catalog/pg_sequence.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/identifier.h"
#include "log/furthest.h"
#include "log/guard_ddl.h"
#include "log/log_check.h"
#include "log/log_index.h"
#include "log/log_index_ask.h"
#include "log/log_trouble.h"
#include "log/partition_check.h"
#include "log/replica_check.h"
#include "log/sequence.h"
#include "shmem/slot_log.h"
#include "shmem/slot_mark.h"

SequenceFit
log_sequence_fits(PmLog *log, int64 *last, int64 *needed)
{
	LogRef slot;
	int64 mark;
	int64 reached;
	int64 highest;
	bool known;

	if (!sequence_look(log->seqid, last))
		return SEQUENCE_LOCKED;

	/*
	 * It must have reached each cursor, the highest value that readers have seen, and
	 * each event.
	 */
	*needed = furthest_cursor(log->relid, true);
	slot_log_ref(log->relid, false, &slot);
	if (slot_mark_read(&slot, &mark, &reached))
		*needed = Max(*needed, reached);
	if (log_index_last(log, PG_INT64_MIN, &highest, &known))
		*needed = Max(*needed, highest);
	if (!known)
		return SEQUENCE_UNKNOWN;
	return *last >= *needed ? SEQUENCE_FITS : SEQUENCE_BEHIND;
}

/*
 * Checks a sequence whose file is not the one that was last accepted.  In a copy
 * of the database the sequence is accepted as it is if it fits: no reader of the
 * copy has been further than the copied cursors.  False when that cannot be
 * found out now.
 */
static bool
log_check_file(PmLog *log)
{
	int64 last;
	int64 needed;
	SequenceFit fit = log->at_home ? SEQUENCE_BEHIND : log_sequence_fits(log, &last, &needed);

	if (fit == SEQUENCE_BEHIND)
		log_note_problem(
			log, psprintf("the sequence of log \"%s\" was restarted or rebuilt", log->name),
			psprintf("As the table's owner, run SELECT pm.create_log(%s): it checks the "
					 "sequence and accepts it.",
					 quote_literal_cstr(log->name)));
	else if (fit == SEQUENCE_UNKNOWN)
	{
		LogTrouble trouble;

		log_trouble_no_index(&trouble, log);
		log_note_problem(log, trouble.message, trouble.hint);
	}
	return fit != SEQUENCE_LOCKED;
}

static void
log_check_table(PmLog *log, Relation rel)
{
	if ((rel->rd_rel->relkind != RELKIND_RELATION &&
		 !(log->partitioned && log->kind == LOG_PARTITIONED)) ||
		rel->rd_rel->relispartition)
		log_note_problem(log, psprintf("log \"%s\" is not an ordinary table", log->name),
						 "Partitions and views cannot be logs.");
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		log_note_problem(log, psprintf("log \"%s\" is not logged", log->name),
						 "Run ALTER TABLE ... SET LOGGED.");
	if (!OidIsValid(log->seqid))
		log_note_problem(
			log,
			psprintf("log \"%s\" has no column that is GENERATED ALWAYS AS IDENTITY", log->name),
			psprintf("Run ALTER TABLE %s ALTER COLUMN %s ADD GENERATED ALWAYS AS IDENTITY, or SET "
					 "GENERATED ALWAYS.",
					 log->table, log->pos));
}

static void
log_check_sequence(PmLog *log)
{
	HeapTuple tuple;
	Form_pg_sequence seq;

	/* After a crash an unlogged sequence would start again. */
	if (get_rel_persistence(log->seqid) != RELPERSISTENCE_PERMANENT)
		log_note_problem(log, psprintf("the sequence of log \"%s\" is not logged", log->name),
						 psprintf("Run ALTER SEQUENCE %s SET LOGGED; SELECT pm.create_log(%s).",
								  identifier_of_relation(log->seqid),
								  quote_literal_cstr(log->name)));

	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(log->seqid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", log->seqid);
	seq = (Form_pg_sequence) GETSTRUCT(tuple);
	if (seq->seqcache != 1 || seq->seqincrement <= 0 || seq->seqcycle)
		log_note_problem(
			log,
			psprintf("the sequence of log \"%s\" has CACHE %lld, INCREMENT %lld%s", log->name,
					 (long long) seq->seqcache, (long long) seq->seqincrement,
					 seq->seqcycle ? ", CYCLE" : ""),
			psprintf("Run ALTER TABLE %s ALTER COLUMN %s SET CACHE 1 SET INCREMENT 1 SET NO CYCLE; "
					 "SELECT pm.create_log(%s).",
					 log->table, log->pos, quote_literal_cstr(log->name)));
	ReleaseSysCache(tuple);
}

static void
log_check_guard(PmLog *log, Relation rel)
{
	const char *missing = guard_missing(rel);

	if (log->kind == LOG_REPLICA)
	{
		if (replica_origin_column(rel) == InvalidAttrNumber)
			log_note_problem(log,
							 psprintf("log \"%s\" has no column \"" REPLICA_ORIGIN
									  "\" of type bigint",
									  log->name),
							 "Give the column its name and its type back.");
		else if (missing == NULL)
			missing = replica_missing(rel);
	}
	if (missing != NULL)
		log_note_problem(
			log,
			psprintf("\"%s\" of log \"%s\" is missing or disabled, so events may be lost", missing,
					 log->name),
			psprintf("As the table's owner, run SELECT pm.create_log(%s): it puts back "
					 "what is missing.",
					 quote_literal_cstr(log->name)));
}

/*
 * This never waits, and never runs code of the table's owner.
 */
bool
log_check(PmLog *log, Relation rel, Oid accepted_file, bool at_home)
{
	log_check_table(log, rel);
	if (!OidIsValid(log->seqid))
		return true;
	log_check_sequence(log);
	log_check_guard(log, rel);
	if (log->kind == LOG_PARTITIONED)
		partition_check(log, rel);
	log->at_home = at_home;
	log->sequence_changed = !at_home || sequence_file(log->seqid) != accepted_file;
	/*
	 * If there is another problem, the log is not read anyway; the file is checked once that
	 * is solved.
	 */
	return !log->sequence_changed || log->problem != NULL || log_check_file(log);
}
