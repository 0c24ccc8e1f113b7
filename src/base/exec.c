/*
 * exec.c
 *		Runs SQL through SPI, checks every result code, and changes the current role.
 *
 * Statements of pm run in one of three scopes:
 *
 * - The owner scope is for the private tables.  It runs as the extension's owner.  Only fixed
 *	 statements in which every name is qualified run in it, never SQL that a user wrote.
 * - The caller scope is for changing the definitions of tables.  It keeps the caller's rights,
 *	 and only sets the search path.
 * - The writer scope is for writing logs.  It keeps the caller's search path too,
 *	 because the table's triggers may depend on it.
 *
 * Each scope opens an SPI connection and a level of settings.  After an error, the
 * abort of the transaction or subtransaction undoes both.
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/extension.h"
#include "base/report.h"

Oid
exec_catalog_relid(const char *relname)
{
	Oid nsp = extension_schema("pm_catalog");

	return OidIsValid(nsp) ? get_relname_relid(relname, nsp) : InvalidOid;
}

Oid
exec_require_relid(const char *relname)
{
	Oid relid = exec_catalog_relid(relname);

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("extension \"pm\" does not exist in this database"),
						errhint("Run CREATE EXTENSION pm.")));
	return relid;
}

/*
 * This is the owner of the extension's main table, not the one in pg_extension.
 * That role can write the private tables even if REASSIGN OWNED has changed the
 * owner of the extension.
 */
Oid
exec_extension_owner(void)
{
	Oid relid = exec_require_relid("process_manager");
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
exec_require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

static void
exec_begin(ExecScope *scope, Oid role, bool pin)
{
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	scope->guc_level = NewGUCNestLevel();
	if (pin)
	{
		(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		/* With custom plans only, pinned.c could not keep the plans of the fixed statements. */
		if (plan_cache_mode == PLAN_CACHE_MODE_FORCE_CUSTOM_PLAN)
			(void) set_config_option("plan_cache_mode", "auto", PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
	}
	/* The flag makes SET ROLE fail, which would undo this change of the role. */
	if (role != scope->user)
		SetUserIdAndSecContext(role, scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	/*
	 * SPI assumes that a statement has set a snapshot, but a worker runs outside of any
	 * statement.
	 */
	scope->snapshot = !ActiveSnapshotSet();
	if (scope->snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
exec_begin_owner(ExecScope *scope)
{
	exec_begin(scope, exec_extension_owner(), true);
}

void
exec_begin_caller(ExecScope *scope)
{
	exec_begin(scope, GetUserId(), true);
}

void
exec_begin_writer(ExecScope *scope)
{
	exec_begin(scope, GetUserId(), false);
}

void
exec_end(ExecScope *scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	if (scope->snapshot)
		PopActiveSnapshot();
	SetUserIdAndSecContext(scope->user, scope->sec_context);
	/* "false" means: undo the settings of this level, as an abort does. */
	AtEOXact_GUC(false, scope->guc_level);
}

static SPIPlanPtr
exec_keep(SPIPlanPtr plan, const char *sql)
{
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed for \"%s\"", sql);
	return plan;
}

SPIPlanPtr
exec_prepare(const char *sql, int nargs, Oid *argtypes)
{
	return exec_keep(SPI_prepare(sql, nargs, argtypes), sql);
}

SPIPlanPtr
exec_prepare_generic(const char *sql, int nargs, Oid *argtypes)
{
	return exec_keep(SPI_prepare_cursor(sql, nargs, argtypes, CURSOR_OPT_GENERIC_PLAN), sql);
}

/*
 * The plan gets a snapshot of its own, which is taken now.  It never runs as
 * read_only, because that would use the caller's older snapshot.
 */
uint64
exec_plan(SPIPlanPtr plan, Datum *values, const char *nulls, long limit)
{
	int rc = SPI_execute_plan(plan, values, nulls, false, limit);

	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

void
exec_forget(ExecStatement *statement)
{
	if (statement->plan != NULL)
		pinned_free(statement->plan);
	statement->plan = NULL;
}

uint64
exec_statement(ExecStatement *statement, Datum *values, const char *nulls)
{
	/* After an invalidation, the plan cache may have planned the statement again by itself. */
	if (statement->plan != NULL && !pinned_holds(statement->plan))
		exec_forget(statement);
	if (statement->plan == NULL)
		statement->plan = pinned_make(
			exec_prepare_generic(statement->sql, statement->nargs, statement->argtypes));
	return exec_plan(statement->plan->plan, values, nulls, 0);
}

uint64
exec_as_owner(ExecStatement *statement, Datum *values, const char *nulls)
{
	ExecScope scope;
	uint64 rows;

	exec_begin_owner(&scope);
	rows = exec_statement(statement, values, nulls);
	exec_end(&scope);
	return rows;
}

List *
exec_list(ExecStatement *statement, Datum *values, const char *nulls, void *(*form)(uint64 row))
{
	/* In the scope the current memory context is SPI's, which is freed at the end of the scope. */
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	List *list = NIL;

	exec_begin_owner(&scope);
	exec_statement(statement, values, nulls);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		list = lappend(list, form(row));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	return list;
}

void
exec_command(const char *sql)
{
	int rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute failed for \"%s\": %s", sql, SPI_result_code_string(rc));
}

Datum
exec_value(uint64 row, int column, bool *isnull)
{
	Datum value;

	Assert(row < SPI_processed);
	value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
	if (SPI_result < 0)
		elog(ERROR, "SPI_getbinval failed: %s", SPI_result_code_string(SPI_result));
	return value;
}

char *
exec_text(uint64 row, int column)
{
	bool isnull;
	Datum value = exec_value(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

Datum
exec_text_arg(const char *text, char *null)
{
	*null = text ? ' ' : 'n';
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

void
exec_unit_args(Datum *values, const char *manager, int lane)
{
	values[0] = CStringGetTextDatum(manager);
	values[1] = Int32GetDatum(lane);
}

void
exec_error_args(ErrorData *error, Datum *values, char *nulls)
{
	values[0] = exec_text_arg(error ? report_cut(error->message, REPORT_KEPT) : NULL, &nulls[0]);
	values[1] = exec_text_arg(error ? report_cut(error->detail, REPORT_KEPT) : NULL, &nulls[1]);
	values[2] = exec_text_arg(error ? report_cut_context(error->context, REPORT_KEPT) : NULL,
							  &nulls[2]);
	values[3] = exec_text_arg(error ? unpack_sql_state(error->sqlerrcode) : NULL, &nulls[3]);
}
