/*
 * attach_check.c
 *		Checks whether an attached log is as the high-water mark needs it.
 *
 * The argument at the head of highwater.c holds for the table of another program too, if
 * each transaction draws its positions from the table's own sequence while it holds its
 * lock on the table.  That is so where the position is the column's default, because an
 * INSERT locks the table that it names before it computes defaults.  attach_partition.c
 * deals with statements that name a partition.
 *
 * There is no guard that would refuse any other position.  So everything that the catalogs
 * show is checked when the log is attached, and again each time that a backend builds the
 * log, which it does after each change of the table or of its sequence:
 *
 * - the kind of the table, and that it is logged
 * - the default of the column of positions, its sequence, and its unique index
 * - the settings of the sequence, and that nobody has changed them since the log was
 *	 attached: a session keeps the positions that it has in its cache, even if CACHE is
 *	 set back to 1
 * - the file of the sequence, which RESTART changes
 *
 * setval() changes nothing in the catalogs.  It is noticed while the sequence is below a
 * position that readers have seen (highwater.c).  Three things cannot be noticed: the
 * sequence is set back and forward between two checks, a transaction writes a position
 * that it drew before it locked the table, and an UPDATE changes positions.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/extension.h"
#include "base/identifier.h"
#include "log/attach_check.h"
#include "log/attach_partition.h"
#include "log/attach_sequence.h"
#include "log/attached.h"
#include "log/log_check.h"
#include "log/log_trouble.h"
#include "log/sequence.h"

/* ---------- the sequence ---------- */

static void
attach_check_sequence(PmLog *log)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(log->seqid));
	Form_pg_sequence seq;

	if (!HeapTupleIsValid(tuple))
	{
		log_note_problem(log, psprintf("the sequence of log \"%s\" is gone", log->name), NULL);
		return;
	}
	seq = (Form_pg_sequence) GETSTRUCT(tuple);
	if (seq->seqcache != 1 || seq->seqincrement <= 0 || seq->seqcycle)
		log_note_problem(
			log,
			psprintf("the sequence of log \"%s\" has CACHE %lld, INCREMENT %lld%s", log->name,
					 (long long) seq->seqcache, (long long) seq->seqincrement,
					 seq->seqcycle ? ", CYCLE" : ""),
			psprintf("Run ALTER SEQUENCE %s CACHE 1 INCREMENT 1 NO CYCLE. End the sessions that "
					 "have written meanwhile, and attach the log again.",
					 identifier_of_relation(log->seqid)));
	ReleaseSysCache(tuple);
	/* After a crash an unlogged sequence would start again. */
	if (get_rel_persistence(log->seqid) != RELPERSISTENCE_PERMANENT)
		log_note_problem(log, psprintf("the sequence of log \"%s\" is not logged", log->name),
						 psprintf("Run ALTER SEQUENCE %s SET LOGGED, and attach the log again.",
								  identifier_of_relation(log->seqid)));
}

/*
 * Has the sequence been changed since it was accepted?  In a copy of the database it is
 * accepted if it fits, as in log_check.c.
 */
static bool
attach_check_changed(PmLog *log, const LogRow *row)
{
	int64 last;
	int64 needed;
	SequenceFit fit = row->at_home ? SEQUENCE_BEHIND : log_sequence_fits(log, &last, &needed);

	if (fit == SEQUENCE_BEHIND)
		log_note_problem(
			log,
			psprintf("the sequence of log \"%s\" was changed, restarted or replaced", log->name),
			psprintf("When no session has positions in its cache, run %s, which checks the "
					 "sequence and accepts it.",
					 attach_call(row)));
	else if (fit == SEQUENCE_UNKNOWN)
	{
		LogTrouble trouble;

		log_trouble_no_index(&trouble, log);
		log_note_problem(log, trouble.message, trouble.hint);
	}
	return fit != SEQUENCE_LOCKED;
}

/* ---------- the table ---------- */

const char *
attach_refuses_table(Relation rel)
{
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			return "A view has no sequence, and writers do not lock it. Attach the table that "
				   "it reads, with a filter.";
		case RELKIND_FOREIGN_TABLE:
			return "The writers of a foreign table are on another server, where their locks cannot "
				   "be seen.";
		default:
			return "It is not a table.";
	}
	if (rel->rd_rel->relispartition)
		return "It is a partition: rows that come through the partitioned table draw their "
			   "position before the partition is locked.";
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return "It is a temporary table, which only one session can read.";
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return "It is not logged, so a crash empties it. Run ALTER TABLE ... SET LOGGED.";
	return NULL;
}

/*
 * Is it a unique index of the positions?  It is not opened, since another session can have
 * locked it.  A partitioned table need not have one over all partitions.
 */
static bool
attach_is_index(PmLog *log, Oid index)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	Datum classes;
	bool isnull;
	bool fits;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	classes = SysCacheGetAttr(INDEXRELID, tuple, Anum_pg_index_indclass, &isnull);
	fits = (log->partitioned ||
			(form->indisunique && form->indimmediate && form->indnkeyatts == 1)) &&
		   form->indisvalid && form->indkey.values[0] == log->attnum[EVENT_POSITION] && !isnull &&
		   get_opclass_family(((oidvector *) DatumGetPointer(classes))->values[0]) ==
			   INTEGER_BTREE_FAM_OID &&
		   heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	ReleaseSysCache(tuple);
	return fits;
}

static void
attach_check_index(PmLog *log, Relation rel)
{
	List *indexes = RelationGetIndexList(rel);
	bool found = false;
	ListCell *lc;

	foreach(lc, indexes)
		found = found || attach_is_index(log, lfirst_oid(lc));
	list_free(indexes);
	if (!found && log->partitioned)
		log_note_problem(log,
						 psprintf("log \"%s\" has no index that begins with column %s", log->name,
								  log->pos),
						 psprintf("Run CREATE INDEX ON %s (%s).", log->table, log->pos));
	else if (!found)
		log_note_problem(log,
						 psprintf("column %s of log \"%s\" has no unique index of its own",
								  log->pos, log->name),
						 psprintf("Run ALTER TABLE %s ADD UNIQUE (%s).", log->table, log->pos));
}

static void
attach_check_table(PmLog *log, Relation rel)
{
	const char *reason = attach_refuses_table(rel);
	AttrNumber attnum = log->attnum[EVENT_POSITION];

	if (reason != NULL)
		log_note_problem(log,
						 psprintf("table %s of log \"%s\" cannot be attached", log->table,
								  log->name),
						 reason);
	if (log->attached == NULL)
		return;
	if (!TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attnotnull)
		log_note_problem(log, psprintf("column %s of log \"%s\" may be null", log->pos, log->name),
						 psprintf("Run ALTER TABLE %s ALTER COLUMN %s SET NOT NULL.", log->table,
								  log->pos));
	if (!OidIsValid(log->seqid))
		log_note_problem(
			log,
			psprintf("column %s of log \"%s\" is not filled from a sequence", log->pos, log->name),
			"The column must be an identity column, or have the default nextval('...') of a "
			"sequence, as serial columns have. The program must leave the column out of its "
			"INSERT.");
}

bool
attach_check(PmLog *log, Relation rel, const LogRow *row)
{
	attach_check_table(log, rel);
	if (log->attached == NULL || !OidIsValid(log->seqid))
		return true;
	attach_check_sequence(log);
	attach_check_index(log, rel);
	if (log->partitioned)
		attach_partition_check(log, rel);
	log->at_home = row->at_home;
	log->sequence_changed = !row->at_home || sequence_file(log->seqid) != row->sequence_file ||
							attach_sequence_xmin(log->seqid) != row->sequence_xmin;
	/* If there is another problem, the log is not read anyway. */
	return !log->sequence_changed || log->problem != NULL || attach_check_changed(log, row);
}

/* ---------- the trigger ---------- */

bool
attach_has_trigger(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger *trigger = &desc->triggers[i];
		char *function;

		if (strcmp(trigger->tgname, ATTACH_TRIGGER) != 0)
			continue;
		function = get_func_name(trigger->tgfoid);
		return trigger->tgenabled == TRIGGER_FIRES_ALWAYS && trigger->tgqual == NULL &&
			   TRIGGER_FOR_INSERT(trigger->tgtype) && !TRIGGER_FOR_ROW(trigger->tgtype) &&
			   function != NULL && strcmp(function, "after_write") == 0 &&
			   get_func_namespace(trigger->tgfoid) == extension_schema("pm_catalog");
	}
	return false;
}

/* ---------- for messages ---------- */

char *
attach_call(const LogRow *row)
{
	static const int attributes[] = {EVENT_POSITION, EVENT_STREAM,	 EVENT_TYPE,	   EVENT_DATA,
									 EVENT_VERSION,	 EVENT_METADATA, EVENT_RECORDED_AT};
	const char *table = identifier_of_relation(row->relid);
	StringInfoData call;

	initStringInfo(&call);
	appendStringInfo(&call, "SELECT pm.attach_log(%s, %s", quote_literal_cstr(row->name),
					 quote_literal_cstr(table == NULL ? "?" : table));
	for (int i = 0; i < lengthof(attributes); i++)
	{
		const char *text = row->columns[attributes[i]];

		if (attributes[i] == EVENT_POSITION)
			text = quote_identifier(text);
		appendStringInfo(&call, ", %s", text == NULL ? "NULL" : quote_literal_cstr(text));
	}
	if (row->filter != NULL)
		appendStringInfo(&call, ", %s", quote_literal_cstr(row->filter));
	appendStringInfoChar(&call, ')');
	return call.data;
}
