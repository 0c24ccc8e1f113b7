/*
 * partition_make.c
 *		Turns the table of an ordinary log into a partition of a new table, which takes its place.
 *
 * Writers and readers are locked out meanwhile, so nothing that takes time may happen.  ATTACH
 * PARTITION scans the table unless a valid constraint implies that all its positions are in the
 * range, and builds the indexes that the table lacks.  So the constraint and the index must be
 * there before: both can be made while the log is written.
 *
 * The mark of the log continues as follows.  When the table is locked, each transaction
 * that has written it has ended.  The new sequence continues at the last value of the old
 * one, which is locked too, so no position can be drawn from that any more.  A session that
 * waits for the table, and has found the log before, finds it again when it has the lock
 * (log_open.c, insert.c).  Such a session has drawn no position yet, since it draws with
 * the lock.  Readers know nothing of the new table, and begin with the furthest cursor
 * (seed.c).
 */
#include "pm.h"

#include "access/relation.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/acl_copy.h"
#include "base/exec.h"
#include "base/identifier.h"
#include "log/carry.h"
#include "log/carry_require.h"
#include "log/guard_ddl.h"
#include "log/log_catalog.h"
#include "log/partition_make.h"
#include "log/promotion.h"
#include "log/sequence.h"

/* ---------- what must be there before ---------- */

static Node *
partition_make_compare(AttrNumber position, int16 strategy, int64 value)
{
	Oid operator= get_opfamily_member(INTEGER_BTREE_FAM_OID, INT8OID, INT8OID, strategy);
	Expr *column = (Expr *) makeVar(1, position, INT8OID, -1, InvalidOid, 0);
	Expr *constant = (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
										Int64GetDatum(value), false, FLOAT8PASSBYVAL);
	OpExpr *compare = (OpExpr *) make_opclause(operator, BOOLOID, false, column, constant,
											   InvalidOid, InvalidOid);

	compare->opfuncid = get_opcode(operator);
	return (Node *) compare;
}

/*
 * Does a valid constraint of the table imply that its positions are in the range?  ATTACH
 * PARTITION asks the same.
 */
static bool
partition_make_is_bounded(PmLog *log, int64 up_to)
{
	Relation rel = relation_open(log->relid, NoLock);
	AttrNumber position = log->attnum[EVENT_POSITION];
	List *range = list_make2(partition_make_compare(position, BTGreaterEqualStrategyNumber, 1),
							 partition_make_compare(position, BTLessStrategyNumber, up_to));
	bool bounded = PartConstraintImpliedByRelConstraint(rel, range);

	relation_close(rel, NoLock);
	return bounded;
}

/*
 * Does the table have an index that can become part of the index on (stream, version) of a
 * partitioned log?
 */
static bool
partition_make_has_index(PmLog *log)
{
	static ExecStatement find = {NULL,
								 "SELECT FROM pg_catalog.pg_index i "
								 "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
								 "JOIN pg_catalog.pg_am a ON a.oid = c.relam "
								 "WHERE i.indrelid = $1 AND NOT i.indisunique AND i.indisvalid "
								 "AND i.indnatts = 2 AND i.indkey[0] = $2 AND i.indkey[1] = $3 "
								 "AND i.indpred IS NULL AND i.indoption = '0 0' "
								 "AND a.amname = 'btree'",
								 3,
								 {OIDOID, INT2OID, INT2OID}};
	Datum values[3] = {ObjectIdGetDatum(log->relid), Int16GetDatum(log->attnum[EVENT_STREAM]),
					   Int16GetDatum(log->attnum[EVENT_VERSION])};
	ExecScope scope;
	bool found;

	exec_begin_caller(&scope);
	found = exec_statement(&find, values, NULL) > 0;
	exec_end(&scope);
	return found;
}

/*
 * The unique index on (stream, version) is dropped.  If it were the replica identity, there would
 * be none.
 */
static void
partition_make_require_identity(PmLog *log)
{
	static ExecStatement find =
		{NULL,
		 "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_index i "
		 "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
		 "WHERE i.indrelid = $1 AND i.indisreplident AND i.indnkeyatts = 2 "
		 "AND i.indkey[0] = $2 AND i.indkey[1] = $3",
		 3,
		 {OIDOID, INT2OID, INT2OID}};
	Datum values[3] = {ObjectIdGetDatum(log->relid), Int16GetDatum(log->attnum[EVENT_STREAM]),
					   Int16GetDatum(log->attnum[EVENT_VERSION])};
	ExecScope scope;

	exec_begin_caller(&scope);
	if (exec_statement(&find, values, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("index %s is the replica identity of table %s", exec_text(0, 1),
							   log->table),
						errdetail("A partitioned log cannot have this index."),
						errhint("Run ALTER TABLE %s REPLICA IDENTITY DEFAULT: then the primary key "
								"identifies the rows.",
								log->table)));
	exec_end(&scope);
}

void
partition_make_require(PmLog *log, int64 up_to)
{
	int64 last = sequence_last(log->seqid);

	if (last >= up_to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the sequence of log \"%s\" has reached position %lld", log->title,
						(long long) last),
				 errhint("Use a higher up_to: the events before it are in the first partition.")));
	if (!partition_make_has_index(log))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table %s has no valid index on (%s, %s) that is not unique",
							   log->table, log->stream, log->version),
						errdetail("A unique index over all partitions would have to contain the "
								  "position."),
						errhint("Run CREATE INDEX CONCURRENTLY ON %s (%s, %s).", log->table,
								log->stream, log->version)));
	if (!partition_make_is_bounded(log, up_to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no valid constraint for positions below %lld", log->table,
						(long long) up_to),
				 errdetail("All its rows would have to be read while nobody can write."),
				 errhint("Run ALTER TABLE %s ADD CONSTRAINT " CARRY_UP_TO
						 " CHECK (%s >= 1 AND %s < %lld) NOT VALID; then, in another transaction, "
						 "ALTER TABLE %s VALIDATE CONSTRAINT " CARRY_UP_TO ".",
						 log->table, log->pos, log->pos, (long long) up_to, log->table)));
	partition_make_require_identity(log);
	carry_require(log);
}

/* ---------- the change ---------- */

/*
 * Makes the sequence of the new table continue where the old one is.  If that has not drawn
 * anything, both are where they begin.
 */
static void
partition_make_continue(Oid seqid, int64 last)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	int64 lowest;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", seqid);
	lowest = ((Form_pg_sequence) GETSTRUCT(tuple))->seqmin;
	ReleaseSysCache(tuple);
	if (last < lowest)
		return;
	exec_command(psprintf("SELECT pg_catalog.setval(%u::pg_catalog.oid::pg_catalog.regclass, %lld)",
						  seqid, (long long) last));
}

/*
 * Completes the new table: its sequence, rights and guard.  The rights come after setval(), which
 * the owner may not have been allowed to call.
 */
static void
partition_make_complete(PmLog *log, Oid root, int64 last)
{
	Relation rel = relation_open(root, NoLock);
	AttrNumber attnum;
	Oid seqid = sequence_of_log(rel, &attnum);

	relation_close(rel, NoLock);
	partition_make_continue(seqid, last);
	acl_copy(log->relid, root);
	acl_copy(log->seqid, seqid);
	guard_put_back(root, attnum, false);
}

/*
 * Makes the old table a partition.  A partition has no sequence of its own, and its bounds replace
 * the constraint.
 */
static void
partition_make_attach(PmLog *log, Oid root, int64 up_to)
{
	char *leaf = identifier_of_relation(log->relid);

	exec_command(psprintf("ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY", leaf, log->pos));
	exec_command(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (1) TO (%lld)",
						  identifier_of_relation(root), leaf, (long long) up_to));
	exec_command(psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS " CARRY_UP_TO, leaf));
}

/*
 * Afterwards, the index on (stream, version) of the old table is a part of that of the new one,
 * which is made from its definition.
 */
Oid
partition_make(PmLog *log, const char *partition, int64 up_to)
{
	char *name = pstrdup(log->name);
	char *relname = get_rel_name(log->relid);
	Oid nsp = get_rel_namespace(log->relid);
	int64 last = sequence_last(log->seqid);
	Relation rel;
	AttrNumber attnum;
	ExecScope scope;
	Carry carry;
	Oid root;
	Oid seqid;

	if (OidIsValid(get_relname_relid(partition, nsp)))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
						errmsg("relation \"%s\" already exists", partition),
						errhint("Give the partition a name that no relation of schema %s has.",
								quote_identifier(get_namespace_name(nsp)))));
	exec_begin_caller(&scope);
	carry_collect(&carry, log, partition);
	guard_take_off(log->relid);
	carry_run(carry.old);
	carry_run(carry.new);
	root = get_relname_relid(relname, nsp);
	/* The schema can be renamed although the table is locked. */
	if (!OidIsValid(root) || root == log->relid)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("event log \"%s\" was replaced", name)));
	partition_make_complete(log, root, last);
	partition_make_attach(log, root, up_to);
	exec_end(&scope);

	rel = relation_open(root, NoLock);
	seqid = sequence_of_log(rel, &attnum);
	relation_close(rel, NoLock);
	promotion_move(log->relid, root);
	log_catalog_partition(name, root, sequence_file(seqid));
	CommandCounterIncrement();
	return root;
}
