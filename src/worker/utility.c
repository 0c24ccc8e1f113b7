/*
 * utility.c
 *		Commands that our workers must know of.
 *
 * A connected worker blocks DROP DATABASE, ALTER DATABASE ... RENAME or SET
 * TABLESPACE of its database, and CREATE DATABASE ... TEMPLATE from it.  So
 * before one of these runs, after the caller's right to it has been checked,
 * the database's workers are asked to leave and held out until its transaction
 * is over.
 *
 * DROP and ALTER EXTENSION wake the workers when they commit.
 *
 * REASSIGN OWNED gives process managers to another role (owner.c).
 */
#include "pm.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "manager/owner.h"
#include "shmem/slot.h"
#include "shmem/slot_database.h"
#include "shmem/wakeup.h"
#include "worker/utility.h"

/* How long workers have to finish their batch, and to go at all, in ms. */
#define UTILITY_ASK_FOR	 1000
#define UTILITY_WAIT_FOR 10000

static ProcessUtility_hook_type prev_process_utility;
static bool holding = false; /* this transaction holds workers out of a database */

static bool
utility_may_create(void)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool may = superuser();

	if (HeapTupleIsValid(tuple))
	{
		may = may || ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

/*
 * The database of that name, if the caller may do this to it.
 */
static Oid
utility_database(const char *name, bool copy)
{
	Oid database = name ? get_database_oid(name, true) : InvalidOid;
	bool may;

	if (!OidIsValid(database))
		return InvalidOid;
	may = compat_database_ownercheck(database, GetUserId());
	if (copy)
	{
		HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));

		if (HeapTupleIsValid(tuple))
		{
			may = may || ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
			ReleaseSysCache(tuple);
		}
		may = may && utility_may_create();
	}
	return may ? database : InvalidOid;
}

static char *
utility_option(List *options, const char *name)
{
	ListCell *lc;

	foreach(lc, options)
	{
		DefElem *option = lfirst(lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/*
 * The database that a command needs for itself, if any.
 */
static Oid
utility_wanted(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return utility_database(((DropdbStmt *) statement)->dbname, false);
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_DATABASE)
				return InvalidOid;
			return utility_database(((RenameStmt *) statement)->subname, false);
		case T_AlterDatabaseStmt:
			if (utility_option(((AlterDatabaseStmt *) statement)->options, "tablespace") == NULL)
				return InvalidOid;
			return utility_database(((AlterDatabaseStmt *) statement)->dbname, false);
		case T_CreatedbStmt:
			return utility_database(utility_option(((CreatedbStmt *) statement)->options,
												   "template"),
									true);
		default:
			return InvalidOid;
	}
}

/*
 * The same, unless it cannot be had: but for copying it, the session's own
 * database is refused, and one of our workers (a handler) is in it itself.
 */
static Oid
utility_exclusive(Node *statement)
{
	Oid database = utility_wanted(statement);

	if (database == MyDatabaseId && (slot_am_worker() || !IsA(statement, CreatedbStmt)))
		return InvalidOid;
	return database;
}

static void
utility_hold_out(Oid database)
{
	static uint32 event;
	TimestampTz began = GetCurrentTimestamp();
	bool insisted = false;

	holding = true;
	slot_database_hold_out(database);

	while (slot_dismiss_database(database, false))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (!insisted && TimestampDifferenceExceeds(began, now, UTILITY_ASK_FOR))
			insisted = slot_dismiss_database(database, true);
		/* The command itself then says who is in the way. */
		if (TimestampDifferenceExceeds(began, now, UTILITY_WAIT_FOR))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 compat_wait_event(&event, "PmWorkersEnd"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * The transaction is over: the workers may come back.  (ALTER DATABASE may
 * stand in a transaction block, and locks the database until its end.)
 */
static void
utility_xact_callback(XactEvent event, void *arg)
{
	if (!holding ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	holding = false;
	slot_database_release();
}

/*
 * Notes commands on our extension for the end of the transaction.
 */
static void
utility_note(Node *statement)
{
	if (IsA(statement, DropStmt))
	{
		DropStmt *drop = (DropStmt *) statement;
		ListCell *lc;

		if (drop->removeType != OBJECT_EXTENSION)
			return;
		foreach(lc, drop->objects)
			if (strcmp(strVal(lfirst(lc)), "pm") == 0)
				wakeup_registry();
	}
	else if (IsA(statement, AlterExtensionStmt) &&
			 strcmp(((AlterExtensionStmt *) statement)->extname, "pm") == 0)
	{
		wakeup_registry();
		wakeup_announce();
	}
}

static void
utility_process(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
				DestReceiver *dest, QueryCompletion *completion)
{
	Oid database = utility_exclusive(pstmt->utilityStmt);
	ReassignOwnedStmt *reassign = NULL;

	/* What is in a plan may be gone when the command has run. */
	if (IsA(pstmt->utilityStmt, ReassignOwnedStmt))
		reassign = copyObject((ReassignOwnedStmt *) pstmt->utilityStmt);
	if (reassign != NULL)
		owner_reassigning();
	utility_note(pstmt->utilityStmt);
	if (OidIsValid(database))
		utility_hold_out(database);
	if (prev_process_utility)
		prev_process_utility(pstmt, query, read_only_tree, context, params, environment, dest,
							 completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);
	if (reassign != NULL)
		owner_reassigned(reassign);
}

/*
 * Called from _PG_init while the postmaster preloads.
 */
void
utility_install_hook(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_process;
	RegisterXactCallback(utility_xact_callback, NULL);
}
