/*
 * log_check.c
 *		Can a log be relied on?
 *
 * Looked at whenever a backend builds its picture of a log (log.c).
 */
#include "pm.h"

#include "access/relation.h"
#include "catalog/pg_sequence.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "log/furthest.h"
#include "log/guard.h"
#include "log/log_check.h"
#include "log/log_index.h"
#include "log/sequence.h"
#include "shmem/slot.h"

/*
 * Notes what is wrong with a log, the first thing only.
 */
void
log_problem(PmLog *log, const char *problem, const char *hint)
{
	if (log->problem != NULL)
		return;
	log->problem = MemoryContextStrdup(log->context, problem);
	log->hint = hint ? MemoryContextStrdup(log->context, hint) : NULL;
}

/*
 * The column of the log that is this attribute of an event, quoted, after
 * checking its type.
 */
const char *
log_column(PmLog *log, Relation rel, int attribute, const char *name, Oid type)
{
	AttrNumber attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum == InvalidAttrNumber)
		log_problem(log, psprintf("column \"%s\" of log \"%s\" is missing", name, log->name),
					"Give the column its name back.");
	else if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid != type)
		log_problem(log,
					psprintf("column \"%s\" of log \"%s\" is not of type %s", name, log->name,
							 format_type_be(type)),
					"Change the column's type back.");
	else if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated ==
			 COMPAT_GENERATED_VIRTUAL)
		log_problem(
			log,
			psprintf("column \"%s\" of log \"%s\" is a virtual generated column", name, log->name),
			"Its values are not in the table. Make it an ordinary column, or a STORED one.");
	log->attnum[attribute] = attnum;
	return MemoryContextStrdup(log->context, quote_identifier(name));
}

/*
 * Does the sequence fit what is in the log, and where its readers are?
 */
SequenceFit
log_sequence_fits(PmLog *log, int64 *last, int64 *needed)
{
	LogRef slot;
	int64 mark;
	int64 reached;
	Relation sequence = sequence_open_nowait(log->seqid);
	int64 highest;
	bool known;

	if (sequence == NULL)
		return SEQUENCE_LOCKED;
	*last = sequence_read(sequence);
	relation_close(sequence, AccessShareLock);
	*needed = furthest_cursor(log->relid, true);
	slot_log_ref(log->relid, false, &slot);
	if (slot_log_read(&slot, &mark, &reached))
		*needed = Max(*needed, reached);
	if (log_index_last(log, PG_INT64_MIN, &highest, &known))
		*needed = Max(*needed, highest);
	if (!known)
		return SEQUENCE_UNKNOWN;
	return *last >= *needed ? SEQUENCE_FITS : SEQUENCE_BEHIND;
}

/*
 * Notes what is wrong with a sequence whose file is not the one that was last
 * accepted.  In a copy it is taken as it is when it fits: nobody has read
 * further there than the copied cursors.  False when that cannot be found out
 * now.
 */
static bool
log_check_sequence(PmLog *log)
{
	int64 last;
	int64 needed;
	SequenceFit fit = log->at_home ? SEQUENCE_BEHIND : log_sequence_fits(log, &last, &needed);

	if (fit == SEQUENCE_BEHIND)
		log_problem(
			log, psprintf("the sequence of log \"%s\" was restarted or rebuilt", log->name),
			psprintf(
				"As the table's owner, run SELECT pm.create_log(%s): it checks the sequence and accepts it.",
				quote_literal_cstr(log->name)));
	else if (fit == SEQUENCE_UNKNOWN)
		log_problem(log, psprintf("log \"%s\" has no index of its positions", log->name),
					psprintf("Run ALTER TABLE %s ADD PRIMARY KEY (%s).", log->table, log->pos));
	return fit != SEQUENCE_LOCKED;
}

/*
 * What the high-water mark rests on (highwater.c), as far as it can be seen.
 * False when it cannot be seen now, since somebody has the sequence.  Nothing
 * is waited for here, nor is code of the table's owner run.
 */
bool
log_check(PmLog *log, Relation rel, Oid known_file, bool at_home)
{
	HeapTuple tuple;
	Form_pg_sequence seq;
	const char *missing;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition)
		log_problem(log, psprintf("log \"%s\" is not an ordinary table", log->name),
					"Partitions, partitioned tables and views cannot be logs.");
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		log_problem(log, psprintf("log \"%s\" is not logged", log->name),
					"Run ALTER TABLE ... SET LOGGED.");
	if (!OidIsValid(log->seqid))
	{
		log_problem(
			log,
			psprintf("log \"%s\" has no column that is GENERATED ALWAYS AS IDENTITY", log->name),
			psprintf(
				"Run ALTER TABLE %s ALTER COLUMN %s ADD GENERATED ALWAYS AS IDENTITY, or SET GENERATED ALWAYS.",
				log->table, log->pos));
		return true;
	}

	/* After a crash it would begin again. */
	if (get_rel_persistence(log->seqid) != RELPERSISTENCE_PERMANENT)
	{
		char *sequence = quote_qualified_identifier(get_namespace_name(
														get_rel_namespace(log->seqid)),
													get_rel_name(log->seqid));

		log_problem(log, psprintf("the sequence of log \"%s\" is not logged", log->name),
					psprintf("Run ALTER SEQUENCE %s SET LOGGED; SELECT pm.create_log(%s).",
							 sequence, quote_literal_cstr(log->name)));
	}

	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(log->seqid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", log->seqid);
	seq = (Form_pg_sequence) GETSTRUCT(tuple);
	if (seq->seqcache != 1 || seq->seqincrement <= 0 || seq->seqcycle)
		log_problem(
			log,
			psprintf("the sequence of log \"%s\" has CACHE %lld, INCREMENT %lld%s", log->name,
					 (long long) seq->seqcache, (long long) seq->seqincrement,
					 seq->seqcycle ? ", CYCLE" : ""),
			psprintf(
				"Run ALTER TABLE %s ALTER COLUMN %s SET CACHE 1 SET INCREMENT 1 SET NO CYCLE; SELECT pm.create_log(%s).",
				log->table, log->pos, quote_literal_cstr(log->name)));
	ReleaseSysCache(tuple);

	missing = guard_missing(rel);
	if (missing != NULL)
		log_problem(
			log,
			psprintf("\"%s\" of log \"%s\" is missing or disabled, events may get lost", missing,
					 log->name),
			psprintf(
				"As the table's owner, run SELECT pm.create_log(%s): it puts back what is missing.",
				quote_literal_cstr(log->name)));
	log->at_home = at_home;
	log->sequence_changed = !at_home || sequence_file(log->seqid) != known_file;
	return !log->sequence_changed || log->problem != NULL || log_check_sequence(log);
}
