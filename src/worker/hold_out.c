/*
 * hold_out.c
 *		Keeps workers out of a database of which a command needs exclusive use.
 *
 * A connected worker blocks DROP DATABASE, ALTER DATABASE ... RENAME or SET
 * TABLESPACE of its database, and CREATE DATABASE ... TEMPLATE from it.  So
 * before one of these runs, the workers of the database are asked to leave, and
 * none is started there until the transaction is over.
 *
 * The command itself checks the caller's right only later.  So the same right is
 * checked here first, because otherwise any role could end the workers of a
 * database.  If this check and PostgreSQL's own differ, the worst that happens is
 * that the command finds the database in use.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "shmem/slot.h"
#include "shmem/slot_database.h"
#include "worker/hold_out.h"

/* How long workers may take to finish their batch, and how long to be gone altogether, ms. */
#define HOLD_OUT_ASK  1000
#define HOLD_OUT_WAIT 10000

/* This transaction keeps workers out of a database. */
static bool holding = false;

static bool
hold_out_may_create(void)
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

static bool
hold_out_is_template(Oid database)
{
	HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool template = false;

	if (HeapTupleIsValid(tuple))
	{
		template = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return template;
}

/*
 * The database of this name, if the caller may change it or, with "copy", copy it.
 */
static Oid
hold_out_database(const char *name, bool copy)
{
	Oid database = name ? get_database_oid(name, true) : InvalidOid;
	bool may;

	if (!OidIsValid(database))
		return InvalidOid;
	may = compat_database_ownercheck(database, GetUserId());
	if (copy)
		may = (may || hold_out_is_template(database)) && hold_out_may_create();
	return may ? database : InvalidOid;
}

static char *
hold_out_option(List *options, const char *name)
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
 * The database of which a command needs exclusive use, if any.
 */
static Oid
hold_out_wanted(Node *statement)
{
	switch (nodeTag(statement))
	{
		/* Only the owner can run these three. */
		case T_DropdbStmt:
			return hold_out_database(((DropdbStmt *) statement)->dbname, false);
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_DATABASE)
				return InvalidOid;
			return hold_out_database(((RenameStmt *) statement)->subname, false);
		case T_AlterDatabaseStmt:
			if (hold_out_option(((AlterDatabaseStmt *) statement)->options, "tablespace") == NULL)
				return InvalidOid;
			return hold_out_database(((AlterDatabaseStmt *) statement)->dbname, false);
		/* Every role with CREATEDB can copy a template. */
		case T_CreatedbStmt:
			return hold_out_database(hold_out_option(((CreatedbStmt *) statement)->options,
													 "template"),
									 true);
		default:
			return InvalidOid;
	}
}

/*
 * The same, unless the command will fail anyway.  A session can copy its own
 * database, but not drop or rename it.  A handler in one of our workers can do
 * none of these, since its own worker is connected and would wait for its own
 * end.
 */
static Oid
hold_out_needed(Node *statement)
{
	Oid database = hold_out_wanted(statement);

	if (database == MyDatabaseId && (slot_am_worker() || !IsA(statement, CreatedbStmt)))
		return InvalidOid;
	return database;
}

/*
 * Is one of these processes still connected to the database?  A worker gives up its slot before
 * it leaves the list of PostgreSQL's processes.  DROP DATABASE ... WITH (FORCE) by an owner who
 * is not a superuser would fail, because it may not end a process of another role.
 */
static bool
hold_out_connected(Oid database, const List *pids)
{
	ListCell *lc;

	foreach(lc, pids)
	{
		PGPROC *proc = BackendPidGetProc(lfirst_int(lc));

		if (proc != NULL && proc->databaseId == database)
			return true;
	}
	return false;
}

/*
 * Makes the workers of a database leave, and waits until they have.
 *
 * This relies on the order of the steps: once workers are held out, none can start
 * in the database, and one that starts at the same time is seen by
 * slot_dismiss_database(), because both check under the same lock.
 */
static void
hold_out(Oid database)
{
	static uint32 wait_event;
	TimestampTz began = GetCurrentTimestamp();
	bool insisted = false;
	List *pids = NIL;

	holding = true;
	slot_database_hold_out(database);
	while (slot_dismiss_database(database, false, &pids) || hold_out_connected(database, pids))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (!insisted && TimestampDifferenceExceeds(began, now, HOLD_OUT_ASK))
			insisted = slot_dismiss_database(database, true, &pids);
		/* The command then fails with the error that the database is in use. */
		if (TimestampDifferenceExceeds(began, now, HOLD_OUT_WAIT))
			break;
		/* The end of another session's worker does not set our latch, so check every 10 ms. */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 compat_wait_event(&wait_event, "PmWorkersEnd"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	list_free(pids);
}

void
hold_out_for(Node *statement)
{
	Oid database = hold_out_needed(statement);

	if (OidIsValid(database))
		hold_out(database);
}

/*
 * The workers may come back at the end of the transaction, not at the end of the
 * command: ALTER DATABASE can be in a transaction block, and locks the database
 * until the end of the transaction.
 */
static void
hold_out_xact_callback(XactEvent event, void *arg)
{
	if (!holding ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	holding = false;
	slot_database_release();
}

void
hold_out_install(void)
{
	RegisterXactCallback(hold_out_xact_callback, NULL);
}
