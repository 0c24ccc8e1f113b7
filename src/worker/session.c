/*
 * session.c
 *		Cleans a dispatcher's session of what handlers leave in it.
 *
 * A handler can leave cursors, prepared statements, advisory locks, temporary
 * tables and more in the session.  Neither the handler of another process
 * manager, nor the next attempt after a failure, may see any of that.  It must
 * not accumulate either, nor remain while there is nothing to do, because the
 * session may last for months.  Settings need no cleaning: each batch restores
 * them when it has called its handlers (call.c).
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "storage/lock.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "worker/session.h"
#include "worker/worker.h"

/* After this many items the session is cleaned, however busy it is. */
#define SESSION_CLEAN_AFTER 1000

static int last_manager = 0; /* the process manager whose handler has run last */
static int64 uncleaned = 0;	 /* items that user's code has run for since the last cleaning */

void
session_begin_batch(int manager)
{
	if (manager != last_manager || uncleaned >= SESSION_CLEAN_AFTER)
		session_clean();
	last_manager = manager;
}

void
session_used(int64 items)
{
	uncleaned += items;
}

/*
 * Does what DISCARD ALL does, as far as it is needed.  DISCARD ALL itself would
 * also drop the plans of our own statements.
 */
void
session_clean(void)
{
	Oid temp;
	Oid temp_toast;

	if (uncleaned == 0)
		return;
	uncleaned = 0;

	worker_transaction();
	PortalHashTableDeleteAll();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetSequenceCaches();
	GetTempNamespaceState(&temp, &temp_toast);
	if (OidIsValid(temp))
	{
		/* Dropping the tables deletes catalog rows whose columns may be toasted. */
		PushActiveSnapshot(GetTransactionSnapshot());
		ResetTempTableNamespace();
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
}
