/*
 * replica.c
 *		pm.create_replica_log: the table of a log that a subscription fills.
 *
 * The table has the publisher's columns and one more, for the publisher's position.  Its own
 * positions are those of arrival; replica_guard.c draws them.  Otherwise it is a log like any
 * other, with the same guard.
 *
 * The index on stream and version is not unique.  The publisher's is, but a publisher that has
 * lost events after a failover can use a version again, and then both events arrive here.  A
 * unique index would stop the subscription with an error.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "base/version.h"
#include "log/guard_ddl.h"
#include "log/log_adopt.h"
#include "log/log_catalog.h"
#include "log/log_ddl.h"
#include "log/replica_check.h"
#include "log/replica_ddl.h"
#include "log/sequence.h"

PG_FUNCTION_INFO_V1(pm_create_replica_log);

/*
 * Makes the table a replica log.  The caller has created it, or owns it and has locked it.
 */
static void
replica_make(const char *name, Oid relid)
{
	LogRow row = {.name = pstrdup(name), .kind = LOG_REPLICA, .relid = relid};
	ExecScope scope;
	AttrNumber attnum;
	Relation rel = relation_open(relid, AccessExclusiveLock);

	row.sequence_file = sequence_file(sequence_of_log(rel, &attnum));
	relation_close(rel, NoLock);
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		row.columns[i] = pstrdup(log_columns[i].name);
	exec_begin_caller(&scope);
	guard_put_back(relid, attnum, true);
	replica_put_back(relid);
	exec_end(&scope);
	CommandCounterIncrement();
	log_catalog_insert_kind(&row);
	CommandCounterIncrement();
}

static void
replica_create_table(const char *name, const char *relname, Oid nsp)
{
	char *table = quote_qualified_identifier(get_namespace_name(nsp), relname);
	ExecScope scope;

	exec_begin_caller(&scope);
	exec_command(psprintf(
		"CREATE TABLE %s ("
		"position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
		"stream text NOT NULL, "
		"version bigint, "
		"type text NOT NULL, "
		"data jsonb NOT NULL DEFAULT '{}', "
		"metadata jsonb NOT NULL DEFAULT '{}', "
		"recorded_at timestamptz NOT NULL DEFAULT pg_catalog.statement_timestamp(), " REPLICA_ORIGIN
		" bigint NOT NULL UNIQUE)",
		table));
	exec_command(psprintf("CREATE INDEX ON %s (stream, version)", table));
	exec_end(&scope);
	replica_make(name, get_relname_relid(relname, nsp));
}

/*
 * A table that was a replica log before, was restored without the extension's rows, or was
 * created by the user because the publisher's table has further columns.
 */
static void
replica_adopt_table(const char *name, Oid relid)
{
	Relation rel;
	const char *lacks;
	char *hint = NULL;
	char *table;

	if (!compat_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	rel = relation_open(relid, AccessExclusiveLock);
	/* The owner may have changed while we waited. */
	if (!compat_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	log_adopt_require_free(relid);
	table = identifier_of_relation(relid);
	lacks = log_adopt_lacks(rel, table, LOG_REPLICA, &hint);
	if (lacks == NULL && replica_origin_column(rel) == InvalidAttrNumber)
		lacks = "It has no column \"" REPLICA_ORIGIN "\" of type bigint.";
	if (lacks != NULL)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
						errmsg("relation \"%s\" already exists", get_rel_name(relid)),
						errdetail("It cannot be made a replica log. %s", lacks),
						errhint("%s", hint != NULL ?
										  hint :
										  "Drop the table, and call this before you create the "
										  "subscription: its initial copy brings the events.")));
	relation_close(rel, NoLock);
	replica_make(name, relid);
	log_adopt_check(name);
	ereport(NOTICE,
			(errmsg("table %s already exists, and becomes replica log \"%s\"", table, name)));
}

/*
 * pm.create_replica_log(log)
 *
 * Creates the table that a subscription fills, and makes it the log of that name.  If the log
 * exists, repairs it, as pm.create_log does.
 */
Datum
pm_create_replica_log(PG_FUNCTION_ARGS)
{
	LogTarget target;

	version_require("0.2.0", "pm.create_replica_log");
	if (log_ddl_target(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pm.create_replica_log", false,
					   &target))
		PG_RETURN_VOID();
	if (!OidIsValid(target.relid))
		replica_create_table(target.name, target.relname, target.nsp);
	else
		replica_adopt_table(target.name, target.relid);
	PG_RETURN_VOID();
}
