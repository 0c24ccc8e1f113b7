/*
 * utility.c
 *		The hook for utility commands.
 *
 * It tells those whom a command concerns before and after it runs:
 *
 * - commands that need a database for themselves: its workers leave
 *	 (hold_out.c);
 * - DROP and ALTER EXTENSION of pm: the workers are woken when they commit;
 * - REASSIGN OWNED: process managers go to the new owner with everything else
 *	 (owner.c).
 *
 * There is one hook for all of them, on the uppermost floor, since each further
 * hook would cost every utility command a call.
 */
#include "pm.h"

#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "manager/owner.h"
#include "shmem/wakeup.h"
#include "worker/hold_out.h"
#include "worker/utility.h"

static ProcessUtility_hook_type prev_process_utility;

/*
 * Has the workers woken at commit, if the command changes our extension.
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
				wakeup_registry();
	}
	else if (IsA(statement, AlterExtensionStmt) &&
			 strcmp(((AlterExtensionStmt *) statement)->extname, "pm") == 0)
	{
		/* A scheduler that found another version than the library's has left: it is to look again.
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

	/* A copy, since the plan may be gone when the command has run. */
	if (IsA(pstmt->utilityStmt, ReassignOwnedStmt))
		reassign = copyObject((ReassignOwnedStmt *) pstmt->utilityStmt);
	if (reassign != NULL)
		owner_reassigning();
	utility_note_extension(pstmt->utilityStmt);
	hold_out_for(pstmt->utilityStmt);

	if (prev_process_utility)
		prev_process_utility(pstmt, query, read_only_tree, context, params, environment, dest,
							 completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);

	if (reassign != NULL)
		owner_reassigned(reassign);
}

void
utility_install_hook(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_process;
	hold_out_install();
}
