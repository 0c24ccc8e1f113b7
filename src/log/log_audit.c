/*
 * log_audit.c
 *		Tells libraries that audit queries that a log is read.
 *
 * Logs are read without a query (log_index.c).  If a library has asked to be told which
 * tables are read (ExecutorCheckPerms_hook), the executor gets a query that is built here:
 * it asks for SELECT on the log's table and returns nothing.  It is not planned, since
 * planning would run code of the table's owner.
 */
#include "pm.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/snapmgr.h"

#include "log/log_audit.h"

/*
 * SELECT FROM log WHERE false
 */
static PlannedStmt *
log_audit_statement(PmLog *log, AclMode rights)
{
	PlannedStmt *statement = makeNode(PlannedStmt);
	RangeTblEntry *table = makeNode(RangeTblEntry);
	Result *nothing = makeNode(Result);

	nothing->resconstantqual = (Node *) list_make1(makeBoolConst(false, false));
	table->rtekind = RTE_RELATION;
	table->relid = log->relid;
	table->relkind = RELKIND_RELATION;
	table->rellockmode = AccessShareLock;
	table->eref = makeAlias(log->name, NIL);
	table->inFromCl = true;
	statement->commandType = CMD_SELECT;
	statement->canSetTag = true;
	statement->planTree = (Plan *) nothing;
	statement->rtable = list_make1(table);
	statement->relationOids = list_make1_oid(log->relid);
	compat_ask_for(statement, table, rights);
	return statement;
}

void
log_audit(PmLog *log, AclMode rights)
{
	QueryDesc *query;

	if (ExecutorCheckPerms_hook == NULL)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	query = CreateQueryDesc(log_audit_statement(log, rights),
							psprintf("SELECT FROM %s", log->table), GetActiveSnapshot(),
							InvalidSnapshot, None_Receiver, NULL, NULL, 0);
	ExecutorStart(query, 0);
	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
}
