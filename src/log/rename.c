/*
 * rename.c
 *		pm.rename_log: another name, or another schema, for a log and its table.
 *
 * Only the title of the log changes (log_name.c).  So nothing has to be locked but the
 * table, and process managers continue.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "base/version.h"
#include "log/attach.h"
#include "log/highwater_ask.h"
#include "log/log_catalog.h"
#include "log/log_ddl.h"
#include "log/log_name.h"
#include "log/log_open.h"
#include "log/name_right.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_rename_log);

/*
 * The program that writes an attached table, and the subscription that fills a replica log, find
 * the table by its name.
 */
static bool
rename_moves_table(const PmLog *log)
{
	return log->kind != LOG_ATTACHED && log->kind != LOG_REPLICA;
}

static void
rename_require_right(PmLog *log)
{
	LogRow row;

	if (log->kind != LOG_ATTACHED)
		log_require_owner(log);
	else if (log_catalog_row(log->name, &row))
		attach_require_may_change(&row);
}

/*
 * The schema that the new name means.  If neither the old name nor the new one has a schema, the
 * table stays where it is.
 */
static Oid
rename_schema(const PmLog *log, RangeVar *range)
{
	Oid nsp;

	if (range->schemaname == NULL && list_length(identifier_split(log->title)) == 1)
		return get_rel_namespace(log->relid);
	nsp = RangeVarGetCreationNamespace(range);
	if (isTempNamespace(nsp))
		ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
						errmsg("an event log cannot be a temporary table"),
						errhint("Name a schema, or change the search_path.")));
	return nsp;
}

/*
 * Renames the table, unless it has the name already.  Needs an open scope.
 */
static void
rename_relation(Oid relid, const char *name)
{
	if (strcmp(get_rel_name(relid), name) == 0)
		return;
	exec_command(psprintf("ALTER TABLE %s RENAME TO %s", identifier_of_relation(relid),
						  quote_identifier(name)));
	CommandCounterIncrement();
}

/*
 * Renames and moves the table, with the rights of the caller.  It may have been renamed before, by
 * ALTER TABLE.
 */
static void
rename_table(PmLog *log, RangeVar *range)
{
	Oid nsp = rename_schema(log, range);
	ExecScope scope;

	exec_begin_caller(&scope);
	if (get_rel_namespace(log->relid) != nsp)
	{
		/* In the new schema, the old name may be that of another table. */
		if (OidIsValid(get_relname_relid(get_rel_name(log->relid), nsp)))
			rename_relation(log->relid, range->relname);
		exec_command(psprintf("ALTER TABLE %s SET SCHEMA %s", identifier_of_relation(log->relid),
							  quote_identifier(get_namespace_name(nsp))));
		CommandCounterIncrement();
	}
	rename_relation(log->relid, range->relname);
	exec_end(&scope);
}

/*
 * pm.rename_log(log, new_name)
 */
Datum
pm_rename_log(PG_FUNCTION_ARGS)
{
	char *given = text_to_cstring(PG_GETARG_TEXT_PP(1));
	List *parts = identifier_split(given);
	char *title = log_normalize(given);
	PmLog *log;
	char *first;

	highwater_require_fresh_snapshots("pm.rename_log");
	exec_require_writable("pm.rename_log");
	version_require("0.2.0", "pm.rename_log");
	if (parts == NIL || list_length(parts) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("invalid log name: \"%s\"", given),
				 errhint("A log is named like its table: name or schema.name, in double quotes "
						 "where SQL needs them.")));
	if (strlen(title) >= LOG_MAX_NAME)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG),
						errmsg("the name of a log must have fewer than %d bytes", LOG_MAX_NAME)));
	log = log_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	rename_require_right(log);
	log = log_lock(log, rename_moves_table(log) ? AccessExclusiveLock : AccessShareLock);
	/* The owner, or the name, may have changed while we waited. */
	rename_require_right(log);
	if (get_rel_relkind(log->relid) == '\0')
		log_require_whole(log);

	/* It may get back a name that it had. */
	first = log_name_first(title);
	if (strcmp(title, log->name) != 0 && (first == NULL || strcmp(first, log->name) != 0))
	{
		LogRow row;

		log_name_claim(title);
		if (log_catalog_row(title, &row))
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
							errmsg("event log \"%s\" already exists", title)));
		name_right_require(title);
		/* With a table that is renamed or moved, PostgreSQL checks this. */
		if (!rename_moves_table(log))
			attach_require_name(given, log->relid);
	}
	if (rename_moves_table(log))
		rename_table(log, makeRangeVarFromNameList(identifier_values(given)));
	log_name_give(log->name, title);
	wakeup_registry();
	PG_RETURN_VOID();
}
