/*
 * separate.c
 *		Runs code in a subtransaction, so that its failure does not undo the batch.
 *
 * Most batches have no failing item, and then subtransactions would only cost time.  But if
 * items fail often, many batches would be undone and handled again.  So while items fail
 * often (isolate.c), each item has a subtransaction, or shares one with a few others
 * (separate_group.c), and an item that fails is parked in the transaction of the batch.
 *
 * A subtransaction that writes has a transaction ID, of which the server's shared
 * memory keeps up to PGPROC_MAX_CACHED_SUBXIDS (64) for a transaction.  With more,
 * every snapshot of every session would have to look them up on disk.  So a batch ends
 * before it has that many.  It does not matter how many failed: the IDs of those are
 * forgotten at once.
 */
#include "pm.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/resowner.h"

#include "dispatch/separate.h"

ErrorData *
separate_try(Calls *calls, void (*act)(void *), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	/* What is allocated must be valid after the subtransaction. */
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		act(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		/* Do this first, because the handler's timeout must not interrupt the rollback. */
		call_interrupted(calls);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	/*
	 * The end of the subtransaction has set both of these to those of the parent
	 * transaction.
	 */
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
}

/* ---------- how many ---------- */

bool
separate_has_room(void)
{
	/* In the transaction of a caller of pm.catch_up, there may be too many already. */
	return MyProc->subxidStatus.overflowed || MyProc->subxidStatus.count < SEPARATE_IDS - 1;
}

void
separate_begin(SeparateIds *ids)
{
	ids->used = MyProc->subxidStatus.count;
	ids->most = 1;
}

/*
 * To be called after each item.  A handler may use subtransactions of its own.  It is
 * assumed that the next item uses as many as the item that has used most.
 */
bool
separate_is_full(SeparateIds *ids)
{
	int used = MyProc->subxidStatus.count;

	ids->most = Max(ids->most, used - ids->used);
	ids->used = used;
	return !MyProc->subxidStatus.overflowed && used + ids->most > SEPARATE_IDS;
}
