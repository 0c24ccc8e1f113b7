/*
 * log_adopt.c
 *		Turns existing objects into a log that works.
 *
 * The objects are a log in a copy of a database, a log whose guard or sequence was
 * changed, or a table that is not a log yet.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "log/attach_sequence.h"
#include "log/guard_ddl.h"
#include "log/log_adopt.h"
#include "log/log_catalog.h"
#include "log/log_check.h"
#include "log/log_index.h"
#include "log/log_open.h"
#include "log/partition.h"
#include "log/replica_ddl.h"
#include "log/sequence.h"
#include "shmem/wakeup.h"

/*
 * The column of positions.  The caller has locked the table.
 */
static AttrNumber
log_position_attnum(PmLog *log)
{
	Relation rel = relation_open(log->relid, NoLock);
	AttrNumber attnum;

	(void) sequence_of_log(rel, &attnum);
	relation_close(rel, NoLock);
	return attnum;
}

/*
 * Does the log's sequence fit?  Unless nowait, waits while another session has
 * locked it exclusively.
 */
static SequenceFit
log_adopt_fit(PmLog *log, int64 *last, int64 *needed, bool nowait)
{
	SequenceFit fit;

	while ((fit = log_sequence_fits(log, last, needed)) == SEQUENCE_LOCKED && !nowait)
	{
		LockRelationOid(log->seqid, AccessShareLock);
		UnlockRelationOid(log->seqid, AccessShareLock);
	}
	if (fit == SEQUENCE_UNKNOWN)
		log_index_refuse(log);
	return fit;
}

static void
log_adopt_accept(PmLog *log)
{
	LogRow row;

	if (log->kind != LOG_ATTACHED)
	{
		log_catalog_accept(log->name, sequence_file(log->seqid));
		return;
	}
	if (!log_catalog_row(log->name, &row))
		elog(ERROR, "log \"%s\" is gone", log->name);
	row.sequence_file = sequence_file(log->seqid);
	row.sequence_xmin = attach_sequence_xmin(log->seqid);
	log_catalog_accept_attached(&row);
}

/*
 * Accepts a sequence that was rebuilt, if it fits.  With nowait, false while
 * another session has locked it exclusively.
 */
static bool
log_accept_sequence(PmLog *log, bool nowait)
{
	int64 last;
	int64 needed;
	SequenceFit fit = log_adopt_fit(log, &last, &needed, nowait);

	if (fit == SEQUENCE_LOCKED)
		return false;
	if (fit == SEQUENCE_BEHIND)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(
				 "the sequence of log \"%s\" is at %lld, but positions up to %lld have been used",
				 log->name, (long long) last, (long long) needed),
			 errhint("Run SELECT pg_catalog.setval(%s, %lld), then try again.",
					 quote_literal_cstr(identifier_of_relation(log->seqid)), (long long) needed)));

	log_adopt_accept(log);
	wakeup_registry();
	return true;
}

void
log_repair(PmLog *log)
{
	ExecScope scope;
	AttrNumber attnum;

	/* Nobody may write while the guard and the sequence are repaired. */
	LockRelationOid(log->relid, AccessExclusiveLock);
	/* These problems are not repaired here: report them. */
	if (!OidIsValid(log->seqid) ||
		(get_rel_relkind(log->relid) != RELKIND_RELATION && log->kind != LOG_PARTITIONED))
		log_require_whole(log);
	(void) log_accept_sequence(log, false);
	attnum = log_position_attnum(log);
	exec_begin_caller(&scope);
	guard_put_back(log->relid, attnum, log->kind == LOG_REPLICA);
	if (log->kind == LOG_REPLICA)
		replica_put_back(log->relid);
	exec_end(&scope);
}

/*
 * A registration that came with a copy of the database begins to run here.  So
 * the copied sequence is accepted as it is, if it fits.
 */
bool
log_adopt(const char *name, bool nowait)
{
	bool locked = false;
	PmLog *log = nowait ? log_open_nowait(name, &locked) : log_open(name);

	if (locked)
		return false;
	if (log == NULL)
		log = log_get(name, false);
	if (log->sequence_changed && !log_accept_sequence(log, nowait))
		return false;
	if (OidIsValid(log->seqid) && log->kind != LOG_ATTACHED)
		guard_adopt(log->relid);
	return true;
}

/*
 * Does not wait for any lock, since the user has not named this log.
 */
void
log_adopt_unnamed(const LogSource *source)
{
	PmLog *log;
	bool locked;

	if (source->at_home || get_rel_relkind(source->relid) == '\0' ||
		!compat_class_ownercheck(source->relid, GetUserId()))
		return;
	log = log_get_nowait(source->name, &locked);
	/* A log with a problem reports it whenever it is used. */
	if (log != NULL && (!OidIsValid(log->seqid) || log->problem != NULL))
		return;
	locked |= log != NULL && !log_adopt(source->name, true);
	if (locked)
		ereport(NOTICE, (errmsg("log \"%s\" is locked, and was left as it is", source->name),
						 errhint("Call pm.resume again when it is free.")));
}

/* ---------- tables that are not logs yet ---------- */

/*
 * Does the table have an index on these columns and no others, for all rows?  "unique": a unique
 * one.
 */
static bool
log_adopt_has_index(Relation rel, int count, const AttrNumber *columns, bool unique)
{
	ListCell *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		/*
		 * Do not use the relation cache: it would simplify the predicate, and so
		 * execute its functions.
		 */
		bool same = (form->indisunique || !unique) && form->indisvalid && form->indimmediate &&
					form->indnkeyatts == count &&
					heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

		for (int i = 0; same && i < count; i++)
			same = form->indkey.values[i] == columns[i] &&
				   (!OidIsValid(index->rd_indcollation[i]) ||
					get_collation_isdeterministic(index->rd_indcollation[i]));
		index_close(index, NoLock);
		if (same)
			return true;
	}
	return false;
}

/*
 * Why a column cannot be that column of a log, or NULL.
 */
static const char *
log_adopt_column(Form_pg_attribute att, const LogColumn *column, const char *table, char **hint)
{
	if (att->atttypid != column->type || att->attgenerated != '\0')
		return psprintf("Its column \"%s\" is generated or not of type %s.", column->name,
						format_type_be(column->type));

	/* Elsewhere, streams are compared by their bytes. */
	if (OidIsValid(att->attcollation) && !get_collation_isdeterministic(att->attcollation))
	{
		*hint = psprintf("Run ALTER TABLE %s ALTER COLUMN %s TYPE text COLLATE \"default\".", table,
						 quote_identifier(column->name));
		return psprintf("Its column \"%s\" has a nondeterministic collation.", column->name);
	}
	if (column->notnull && !att->attnotnull)
	{
		*hint = psprintf("Run ALTER TABLE %s ALTER COLUMN %s SET NOT NULL.", table,
						 quote_identifier(column->name));
		return psprintf("Its column \"%s\" may be null.", column->name);
	}
	return NULL;
}

const char *
log_adopt_lacks(Relation rel, const char *table, LogKind kind, char **hint)
{
	AttrNumber attnums[EVENT_ATTRIBUTES + 1];
	AttrNumber identity = InvalidAttrNumber;
	bool partitioned = kind == LOG_PARTITIONED;

	if ((rel->rd_rel->relkind != RELKIND_RELATION && !partitioned) || rel->rd_rel->relispartition ||
		rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return "It is not an ordinary, permanent table.";
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		const LogColumn *column = &log_columns[i];
		Form_pg_attribute att;
		const char *reason;

		attnums[i] = get_attnum(RelationGetRelid(rel), column->name);
		if (attnums[i] == InvalidAttrNumber)
			return psprintf("It has no column \"%s\".", column->name);
		att = TupleDescAttr(RelationGetDescr(rel), attnums[i] - 1);
		reason = log_adopt_column(att, column, table, hint);
		if (reason != NULL)
			return reason;
	}
	if (!OidIsValid(sequence_of_log(rel, &identity)) || identity != attnums[EVENT_POSITION])
	{
		*hint =
			psprintf("Run ALTER TABLE %s ALTER COLUMN position ADD GENERATED ALWAYS AS IDENTITY, "
					 "or SET GENERATED ALWAYS.",
					 table);
		return "Its column \"position\" is not GENERATED ALWAYS AS IDENTITY.";
	}
	if (!log_adopt_has_index(rel, 1, &attnums[EVENT_POSITION], true))
	{
		*hint = psprintf("Run ALTER TABLE %s ADD PRIMARY KEY (position).", table);
		return "It has no unique index on \"position\".";
	}
	if (partitioned && !partition_by_position(rel, attnums[EVENT_POSITION]))
		return "It is not partitioned by range of \"position\".";
	if (partitioned && partition_set(rel, attnums[EVENT_POSITION])->nested)
		return "It has a partition that is partitioned itself.";
	if (partitioned && !log_adopt_has_index(rel, 2, &attnums[EVENT_STREAM], false))
	{
		*hint = psprintf("Run CREATE INDEX ON %s (stream, version).", table);
		return "It has no index on \"stream\" and \"version\".";
	}
	if (kind == LOG_ORDINARY && !log_adopt_has_index(rel, 2, &attnums[EVENT_STREAM], true))
	{
		*hint = psprintf("Run ALTER TABLE %s ADD UNIQUE (stream, version).", table);
		return "It has no unique index on \"stream\" and \"version\".";
	}
	return NULL;
}

static bool
log_adopt_found(void *arg, EventFields *event)
{
	*(bool *) arg = true;
	return false;
}

/*
 * Cursors start at position 0, so events at or below it would never be handled.
 */
static void
log_adopt_check_positions(PmLog *log)
{
	bool found = false;

	if (!log_index_read(log, PG_INT64_MIN, 0, 1, log_adopt_found, &found))
		log_index_refuse(log);
	if (found)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table %s cannot be made a log", log->table),
						errdetail("It has rows whose position is not above 0."),
						errhint("Give them other positions first.")));
}

/*
 * Sets the sequence forward, so that its next position is one that has not been
 * used.
 */
static void
log_adopt_sequence(PmLog *log)
{
	ExecScope scope;
	int64 last;
	int64 needed;

	/* The table is locked, so other sessions lock the sequence only for a moment. */
	if (log_adopt_fit(log, &last, &needed, false) == SEQUENCE_FITS)
		return;
	exec_begin_caller(&scope);
	exec_command(psprintf("SELECT pg_catalog.setval(%u::pg_catalog.oid::pg_catalog.regclass, %lld)",
						  log->seqid, (long long) needed));
	exec_end(&scope);
}

void
log_make(const char *name, Oid relid, LogKind kind)
{
	ExecScope scope;
	AttrNumber attnum;
	Relation rel = relation_open(relid, AccessExclusiveLock);
	LogRow row = {.name = (char *) name, .kind = kind, .relid = relid};

	(void) sequence_of_log(rel, &attnum);
	relation_close(rel, NoLock);

	exec_begin_caller(&scope);
	guard_put_back(relid, attnum, false);
	exec_end(&scope);
	/* The log is checked when it is next used: the check must see the guard. */
	CommandCounterIncrement();
	rel = relation_open(relid, NoLock);
	row.sequence_file = sequence_file(sequence_of_log(rel, &attnum));
	if (kind == LOG_ORDINARY)
		log_catalog_insert(name, relid, row.sequence_file);
	else
	{
		for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
			row.columns[i] = (char *) log_columns[i].name;
		log_catalog_insert_kind(&row);
	}
	relation_close(rel, NoLock);
	CommandCounterIncrement();
}

void
log_adopt_check(const char *name)
{
	PmLog *log = log_get(name, false);

	log_require_whole(log);
	log_adopt_check_positions(log);
	log_adopt_sequence(log);
}

void
log_adopt_require_free(Oid relid)
{
	char *log = log_catalog_name(relid);

	if (log != NULL)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("the table has just become that of log \"%s\"", log),
						errhint("Follow that log.")));
}

/*
 * The table may have been restored without the extension's rows, created LIKE a
 * log, or been a log before.  So it may have the guard or a part of it.
 */
void
log_adopt_table(const char *name, Oid relid)
{
	Relation rel;
	LogKind kind;
	char *table;
	const char *lacks;
	char *hint = NULL;

	if (!compat_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	/* When we have this lock, all transactions that wrote without the guard have ended. */
	rel = relation_open(relid, AccessExclusiveLock);
	/* The owner may have changed while we waited. */
	if (!compat_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	log_adopt_require_free(relid);
	table = identifier_of_relation(relid);
	kind = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? LOG_PARTITIONED : LOG_ORDINARY;
	lacks = log_adopt_lacks(rel, table, kind, &hint);
	if (lacks != NULL)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
						errmsg("relation \"%s\" already exists", get_rel_name(relid)),
						errdetail("It cannot be made a log. %s", lacks),
						hint ? errhint("%s", hint) :
							   errhint("If another program writes this table, follow it as it is: "
									   "pm.attach_log takes the names of its columns. For a new "
									   "table, give the log another name.")));
	relation_close(rel, NoLock);
	log_make(name, relid, kind);
	log_adopt_check(name);
	ereport(NOTICE, (errmsg("table %s already exists, and becomes event log \"%s\"", table, name)));
}
