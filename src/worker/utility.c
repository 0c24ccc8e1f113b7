/*
 * utility.c
 *		The hook for utility commands.
 *
 * It calls the other files before and after a command that concerns them:
 *
 * - commands that need exclusive use of a database: its workers leave
 *	 (hold_out.c);
 * - DROP and ALTER EXTENSION of pm: the workers are woken at the commit, and DROP
 *	 EXTENSION waits until no worker is in a transaction;
 * - REASSIGN OWNED: process managers are given to the new owner too (owner.c);
 * - DROP OWNED: the roles are no longer consumers (consumer_role.c);
 * - ALTER TABLE and DROP TABLE of a log's partition (partition_ddl.c).
 *
 * There is one hook for all of them, in the highest layer, because each further
 * hook would cost every utility command a call.
 */
#include "pm.h"

#include "access/xlog.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "log/partition_ddl.h"
#include "log/trigger_watch.h"
#include "manager/consumer_role.h"
#include "manager/owner.h"
#include "shmem/wakeup.h"
#include "worker/hold_out.h"
#include "worker/utility.h"
#include "worker/worker.h"

static ProcessUtility_hook_type prev_process_utility;

/*
 * DROP EXTENSION of pm.  A role that does not own the extension, and gets an error, does
 * not hold up the workers.
 */
static void
utility_drop_extension(void)
{
	Oid extension = get_extension_oid("pm", true);

	if (OidIsValid(extension) && !RecoveryInProgress() &&
		compat_extension_ownercheck(extension, GetUserId()))
		worker_hold_off(extension);
	wakeup_registry();
}

/*
 * Makes the commit wake the workers, if the command changes our extension.
 */
static void
utility_note_extension(Node *statement)
{
	if (IsA(statement, DropStmt))
	{
		DropStmt *drop = (DropStmt *) statement;
		ListCell *lc;

		if (drop->removeType != OBJECT_EXTENSION)
			return;
		foreach(lc, drop->objects)
			if (strcmp(strVal(lfirst(lc)), "pm") == 0)
				utility_drop_extension();
	}
	else if (IsA(statement, AlterExtensionStmt) &&
			 strcmp(((AlterExtensionStmt *) statement)->extname, "pm") == 0)
	{
		/*
		 * A scheduler that found a version it does not serve has left: it must look
		 * again.
		 */
		wakeup_registry();
		wakeup_announce();
	}
}

static void
utility_process(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
				DestReceiver *dest, QueryCompletion *completion)
{
	ReassignOwnedStmt *reassign = NULL;
	DropOwnedStmt *drop = NULL;
	Node *partition = NULL;
	List *leaves;

	/* Use a copy, because the plan may be gone when the command has run. */
	if (IsA(pstmt->utilityStmt, ReassignOwnedStmt))
		reassign = copyObject((ReassignOwnedStmt *) pstmt->utilityStmt);
	if (IsA(pstmt->utilityStmt, DropOwnedStmt))
		drop = copyObject((DropOwnedStmt *) pstmt->utilityStmt);
	if (reassign != NULL)
		owner_reassigning();
	if (partition_ddl_concerns(pstmt->utilityStmt))
		partition = copyObject(pstmt->utilityStmt);
	utility_note_extension(pstmt->utilityStmt);
	hold_out_for(pstmt->utilityStmt);
	leaves = partition_ddl_before(pstmt->utilityStmt);

	if (prev_process_utility)
		prev_process_utility(pstmt, query, read_only_tree, context, params, environment, dest,
							 completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);

	if (reassign != NULL)
		owner_reassigned(reassign);
	if (drop != NULL)
		consumer_role_dropped(drop);
	partition_ddl_after(partition, leaves);
}

void
utility_install_hook(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_process;
	hold_out_install();
	partition_ddl_install();
	trigger_watch_install();
}
