/*
 * log_build.c
 *		Builds what a backend knows of a log from its row in the catalog.
 *
 * The table is locked only while it is read.  So the result can be out of date
 * when the log is used.  Then the cache (log_cache.c) has received an
 * invalidation, and builds the log again.
 */
#include "pm.h"

#include "access/relation.h"
#include "parser/parse_relation.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/identifier.h"
#include "log/attach_build.h"
#include "log/attach_check.h"
#include "log/attach_sequence.h"
#include "log/log_build.h"
#include "log/log_check.h"
#include "log/sequence.h"

/*
 * Finds the column that is this attribute of an event, and checks it.
 */
static void
log_build_column(PmLog *log, Relation rel, const LogRow *row, int attribute)
{
	const char *name = row->columns[attribute];
	Oid type = log_columns[attribute].type;
	AttrNumber attnum = attnameAttNum(rel, name, false);
	Form_pg_attribute att;

	log->attnum[attribute] = attnum;
	if (attnum == InvalidAttrNumber)
		log_note_problem(log, psprintf("column \"%s\" of log \"%s\" is missing", name, log->name),
						 "Give the column its name back.");
	else
	{
		att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		if (att->atttypid != type)
			log_note_problem(log,
							 psprintf("column \"%s\" of log \"%s\" is not of type %s", name,
									  log->name, format_type_be(type)),
							 "Change the column's type back.");
		else if (att->attgenerated == COMPAT_GENERATED_VIRTUAL)
			log_note_problem(
				log,
				psprintf("column \"%s\" of log \"%s\" is a virtual generated column", name,
						 log->name),
				"Its values are not in the table. Make it an ordinary column, or a STORED one.");
	}
}

static const char *
log_build_name(PmLog *log, const LogRow *row, int attribute)
{
	return MemoryContextStrdup(log->context, quote_identifier(row->columns[attribute]));
}

void
log_build_names(PmLog *log, const LogRow *row)
{
	log->pos = log_build_name(log, row, EVENT_POSITION);
	log->stream = log_build_name(log, row, EVENT_STREAM);
	log->version = log_build_name(log, row, EVENT_VERSION);
	log->type = log_build_name(log, row, EVENT_TYPE);
	log->data = log_build_name(log, row, EVENT_DATA);
	log->metadata = log_build_name(log, row, EVENT_METADATA);
	log->recorded_at = log_build_name(log, row, EVENT_RECORDED_AT);
}

/*
 * The same for an attached log.
 */
static void
log_build_attached(PmLog *log, Relation rel, const LogRow *row, LogRelations *used)
{
	attach_build(log, rel, row);
	if (log->attached != NULL)
	{
		bool other;

		log->seqid = used->sequence = attach_sequence(rel, log->attnum[EVENT_POSITION], &other);
	}
}

/*
 * Reads what the open table tells.
 */
static void
log_build_table(PmLog *log, Relation rel, const LogRow *row, LogRelations *used)
{
	AttrNumber attnum;

	log->table = MemoryContextStrdup(log->context, identifier_of_relation(log->relid));
	log->owner = rel->rd_rel->relowner;
	log->schema = rel->rd_rel->relnamespace;
	log->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	log->only = log->partitioned ? "" : "ONLY ";
	if (log->kind == LOG_ATTACHED)
	{
		log_build_attached(log, rel, row, used);
		return;
	}
	if (rel->rd_rel->relkind == RELKIND_RELATION || log->partitioned)
		log->seqid = used->sequence = sequence_of_log(rel, &attnum);
	log_build_names(log, row);
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		log_build_column(log, rel, row, i);
}

static bool
log_build_check(PmLog *log, Relation rel, const LogRow *row)
{
	if (log->kind == LOG_ATTACHED)
		return attach_check(log, rel, row);
	return log_check(log, rel, row->sequence_file, row->at_home);
}

/*
 * Reads the table and checks the log.  With nowait, false if that cannot be
 * done because another session has locked the sequence exclusively.
 */
static bool
log_build_from(PmLog *log, Relation rel, const LogRow *row, bool nowait, LogRelations *used)
{
	log_build_table(log, rel, row, used);
	while (!log_build_check(log, rel, row))
	{
		if (nowait)
			return false;
		/* Wait until the other session releases the sequence. */
		LockRelationOid(log->seqid, AccessShareLock);
		UnlockRelationOid(log->seqid, AccessShareLock);
	}
	return true;
}

PmLog *
log_build_empty(const LogRow *row)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pm log",
												  ALLOCSET_SMALL_SIZES);
	PmLog *log = MemoryContextAllocZero(context, sizeof(PmLog));

	log->context = context;
	log->name = MemoryContextStrdup(context, row->name);
	log->title = MemoryContextStrdup(context, row->title);
	log->kind = row->kind;
	log->relid = row->relid;
	log->table = "";
	log->only = "ONLY ";
	return log;
}

PmLog *
log_build(const LogRow *row, bool nowait, LogRelations *used)
{
	PmLog *log;
	Relation rel;
	bool built = true;

	used->table = row->relid;
	used->sequence = InvalidOid;
	/*
	 * The lock is released below: it only keeps the table as it is while it is
	 * read.  A log must not stay locked because it was looked up.
	 */
	if (!nowait)
		LockRelationOid(row->relid, AccessShareLock);
	else if (!ConditionalLockRelationOid(row->relid, AccessShareLock))
		return NULL;

	/* Until the log is complete an error frees it with the current context. */
	log = log_build_empty(row);
	rel = try_relation_open(row->relid, NoLock);
	if (rel == NULL)
		log_note_problem(log, psprintf("the table of log \"%s\" does not exist", row->name),
						 psprintf("Stop following it with pm.unfollow, then remove it with "
								  "SELECT pm.%s(%s).",
								  row->kind == LOG_ATTACHED ? "detach_log" : "drop_log",
								  quote_literal_cstr(row->name)));
	else
	{
		built = log_build_from(log, rel, row, nowait, used);
		relation_close(rel, NoLock);
	}
	UnlockRelationOid(row->relid, AccessShareLock);
	if (!built)
	{
		MemoryContextDelete(log->context);
		return NULL;
	}
	/* From here on the log belongs to the cache. */
	MemoryContextSetParent(log->context, CacheMemoryContext);
	return log;
}
