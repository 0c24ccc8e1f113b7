/*
 * noted.c
 *		For which item this dispatcher has made a note, and is about to call a handler.
 *
 * A note (note.c) that is left when the server is lost counts as a crash, so it must not be
 * there for longer than the call.  A batch that handles the item removes it.  If the batch
 * is undone, or does not reach the item, the note is removed in a transaction of its own.
 * It is also removed when the dispatcher ends: if the server is shut down during the call,
 * as in a switch-over, the handler is not the cause.  A process that crashes, or that is
 * killed or gets SIGQUIT, leaves its note.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "manager/note.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_careful.h"
#include "shmem/standby.h"
#include "worker/noted.h"
#include "worker/worker.h"

static CarefulNote note;
static int noted_lane;
static char noted_manager[NAMEDATALEN];

static void
noted_forget(bool local)
{
	worker_transaction();
	/*
	 * A server that is shut down must not wait for a standby.  What is committed is sent
	 * before the standbys are disconnected, so the next primary has it.
	 */
	if (local)
		(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	note_forget(noted_manager, noted_lane);
	CommitTransactionCommand();
	note.committed = false;
}

static void
noted_exit(int code, Datum arg)
{
	if (!note.committed)
		return;
	AbortOutOfAnyTransaction();
	noted_forget(true);
	slot_careful_release(false);
}

void
noted_install(void)
{
	before_shmem_exit(noted_exit, (Datum) 0);
}

CarefulNote *
noted_note(void)
{
	return &note;
}

bool
noted_committed(const Unit *unit)
{
	note.committed = true;
	noted_lane = unit->lane;
	strlcpy(noted_manager, unit->pm->name, sizeof(noted_manager));
	/*
	 * If this server is lost during the next call, the next primary must know for which item
	 * it was.
	 */
	slot_careful_awaits();
	standby_await(XactLastCommitEnd);
	return slot_careful_noted();
}

void
noted_forgotten(void)
{
	note.committed = false;
}

/*
 * Removes the note.  False if that failed, for example because the disk is full.
 */
static bool
noted_try_forget(void)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		noted_forget(false);
	}
	PG_CATCH();
	{
		worker_recover(caller, true);
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return done;
}

bool
noted_end(bool more)
{
	/* From here on, a dispatcher that must make room is not canceled. */
	if (note.committed)
	{
		slot_activity_set(ACTIVITY_COMMITTING);
		QueryCancelPending = false;
	}
	/* As long as the note is there, others must not make theirs, except as shared ones. */
	if (note.committed && !noted_try_forget())
		return false;
	slot_careful_release(more);
	return true;
}

void
noted_share(void)
{
	uint64 turns[WORKER_MAX];
	int count = slot_careful_long(turns, lengthof(turns));

	if (count == 0)
		return;
	worker_transaction();
	note_share_all();
	CommitTransactionCommand();
	slot_careful_shared(turns, count);
}
