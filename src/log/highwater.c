/*
 * highwater.c
 *		The high-water mark of a log: the largest position at or below which
 *		nothing can appear any more.
 *
 * A sequence hands out positions before their transactions commit, so 7 can be
 * visible while 6 is still running, and who reads 7 and goes on from there
 * loses 6.  No wait is long enough to conclude that 6 is dead.  The lock
 * manager knows:
 *
 * 1. L := the last value of the log's sequence.
 * 2. H := the transactions that hold a lock on the table that a writer takes.
 * 3. When every member of H has ended, L is settled.
 * 4. Only then take the snapshot that reads up to L.
 *
 * Why nothing is missed.  Let a transaction T write position p <= L.  T took
 * its lock on the table before p was drawn (guard.c sees to it), p was drawn
 * before L was read, and H is read after L.  So T is in H, or T has ended (or
 * rolled back to a savepoint before p, which releases the lock and kills the
 * row).  T's locks move from its fast-path slots to the main table only, and
 * GetLockConflicts() looks in this order, so T cannot slip through between.
 * It leaves out transactions whose local xid is already cleared; that is
 * cleared together with the xid, under ProcArrayLock, so a snapshot taken
 * afterwards sees T's commit.
 *
 * When the sequence is set back.  The owner can do that with setval, at any
 * time and as often as he likes, and p <= L may be drawn after L was read.  So
 * between step 1 and step 2 each look writes L down: "reached" is the highest
 * L of all looks.  A writer reads it after it has taken its lock, and its floor
 * is never below it (guard.c).  Now let T write p <= L.  If T had its lock when
 * H was read, T is in H.  If not, T took the lock, or took it again after a
 * savepoint, later; so it read "reached" after L was written down, its floor
 * is at or above L, and p is refused.  This does not ask when p was drawn.
 * Where the last value is below "reached", the sequence has been set back and
 * not yet forward again: readers stop and say so, since what was drawn above it
 * before would be met again.
 *
 * An open transaction that has restarted the sequence (ALTER SEQUENCE) sees a
 * file of its own, which nobody else will see if it rolls back.  What it sees
 * there is nothing to write down: its looks settle nothing.
 *
 * Not waiting.  We keep generations (L, H) and never wait for them: each time
 * a mark is asked for, every pending H is cut down to the transactions that
 * hold their lock still; who is gone has ended, and when an H has become empty
 * its L is settled.  When all generations are in use the newest is overwritten:
 * the oldest is the one that will be settled first.
 *
 * Hints.  Generations alone hold back positions that were committed before a
 * long transaction even began, if it began before we looked.  So writers
 * publish "nothing of mine is at or below this floor" (guard.c).  When every
 * member of H has a hint, everything up to min(L, their floors) is settled at
 * once.  When a member has none (prepared and recovered, or more logs than
 * hints in one transaction) the generations decide.  A transaction writes
 * nothing at or below its hint, even when the sequence is set back and a
 * rolled back savepoint has cost it its floor: the next one is not lower.
 *
 * What it rests on.  The sequence is logged, has CACHE 1, a positive increment
 * and no CYCLE; the table is an ordinary logged one, not a partition
 * (log_check.c looks at these).  The reader's snapshot is younger than the
 * mark, so callers with a transaction-wide snapshot are refused.  All readers
 * of one log work on its generations one after another, under the slot's lock:
 * cutting down a generation by an H taken before it was pushed would drop
 * members that have not ended.  This runs on a primary only.
 *
 * Without shared memory, or a slot for the log there (slot_log.c), each backend
 * has generations of its own, and nowhere to write down for the others what it
 * has seen.  It notices a sequence that was set back, and forgets its generations
 * then; one that was set back and forward again between two of its looks it does
 * not notice.  A slot is only taken from a log when no transaction is left that
 * has used its mark: what such a transaction knew is in a cursor then, or of no
 * use to anybody.
 */
#include "pm.h"

#include "access/relation.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"

#include "log/generations.h"
#include "log/guard.h"
#include "log/highwater.h"
#include "log/seed.h"
#include "log/sequence.h"
#include "shmem/slot.h"

/*
 * Does this transaction itself hold a lock that a writer takes?
 */
bool
highwater_self_writes(Oid relid)
{
	LOCKTAG tag;
	static const LOCKMODE modes[] = {RowExclusiveLock, ShareUpdateExclusiveLock,
									 ShareRowExclusiveLock, ExclusiveLock, AccessExclusiveLock};

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	for (int i = 0; i < lengthof(modes); i++)
		if (compat_lock_held_by_me(&tag, modes[i]))
			return true;
	return false;
}

/*
 * A vacuum, an analyze by autovacuum or a concurrent index build holds a
 * writer's lock and writes nothing: what it calls (index expressions) may want
 * to, and is refused by the guard.  The flags are set before a transaction
 * locks anything and stay until its end.  They are of the transaction only if
 * that is still the same after they were read.
 */
static bool
highwater_is_maintenance(VirtualTransactionId vxid)
{
	PGPROC *proc;
	uint8 flags;

	if (compat_vxid_index(vxid) < 0)
		return false;
	proc = compat_vxid_proc(vxid);
	if (proc == NULL)
		return false;
	flags = *((volatile uint8 *) &proc->statusFlags);
	pg_memory_barrier();
	return (flags & GUARD_NEVER_WRITES) != 0 && compat_proc_lxid(proc) == vxid.localTransactionId;
}

/*
 * H, own transaction included if it writes.  *floor becomes the lowest hint,
 * *hinted whether all have one; with HIGHWATER_OWN the own transaction does
 * not count for these two.
 */
static VirtualTransactionId *
highwater_holders(Oid relid, HighwaterView view, int *count, int64 *floor, bool *hinted)
{
	LOCKTAG tag;
	VirtualTransactionId *found;
	int nfound;
	int n = 0;
	int64 value;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	found = GetLockConflicts(&tag, ShareLock, &nfound);

	*floor = PG_INT64_MAX;
	*hinted = true;
	for (int i = 0; i < nfound; i++)
	{
		if (slot_hint(found[i], relid, &value))
			*floor = Min(*floor, value);
		else if (highwater_is_maintenance(found[i]))
			continue;
		else
			*hinted = false;
		found[n++] = found[i];
	}
	if (highwater_self_writes(relid))
	{
		if (view == HIGHWATER_EVERYBODY)
		{
			if (guard_own_floor(relid, &value))
				*floor = Min(*floor, value);
			else
				*hinted = false;
		}
		/* There is room: the array has a terminator's place, of which we need none. */
		found[n++] = compat_my_vxid();
	}
	*count = n;
	return found;
}

/*
 * Who may write the log now, for pm.blocker.
 */
VirtualTransactionId *
highwater_writers(Oid relid, int *count)
{
	int64 floor;
	bool hinted;

	return highwater_holders(relid, HIGHWATER_EVERYBODY, count, &floor, &hinted);
}

/*
 * Keeps (L, H) until H has ended; in this backend, if shared memory has no room
 * for an H so large.  Generations that are this backend's own are looked at by
 * nobody else, so that these too are cut down one after another.
 */
static void
highwater_keep(Generations *generations, Oid relid, uint64 incarnation, int64 last,
			   VirtualTransactionId *holders, int nholders)
{
	if (!generations_push(generations, last, holders, nholders))
		(void) generations_push(generations_local(relid, incarnation, NULL), last, holders,
								nholders);
}

/*
 * One look, where L is known already: H, then the generations.  Assumes that
 * the caller keeps others off "generations" (the lock of the slot of this
 * incarnation, or they are local: 0), and has written L down.
 */
static void
highwater_look(Generations *generations, Oid relid, uint64 incarnation, HighwaterView view,
			   Highwater *result)
{
	Generations *spilled = generations_spilled(relid, incarnation);
	VirtualTransactionId *holders;
	int nholders;
	int64 floor;
	bool hinted;

	result->mark = generations->mark;
	result->reached = generations->reached;
	if (result->last < generations->reached)
	{
		result->status = HIGHWATER_REWOUND;
		return;
	}
	if (result->last == generations->mark)
	{
		result->status = HIGHWATER_COMPLETE;
		return;
	}

	holders = highwater_holders(relid, view, &nholders, &floor, &hinted);
	generations_cut(generations, holders, nholders);
	if (spilled != NULL && spilled != generations)
	{
		generations_cut(spilled, holders, nholders);
		generations->mark = Max(generations->mark, spilled->mark);
	}
	if (nholders == 0)
		generations->mark = result->last;
	else
	{
		/* The own view's floor leaves out a member: not for everybody. */
		if (hinted && view == HIGHWATER_EVERYBODY)
			generations->mark = Max(generations->mark, Min(result->last, floor));
		if (generations->mark < result->last)
			highwater_keep(generations, relid, incarnation, result->last, holders, nholders);
	}
	pfree(holders);

	result->mark = generations->mark;
	if (view == HIGHWATER_OWN)
	{
		result->mark = generations_own_mark(generations);
		if (spilled != NULL)
			result->mark = Max(result->mark, generations_own_mark(spilled));
		if (hinted)
			result->mark = Max(result->mark, Min(result->last, floor));
	}
	result->status = result->mark < result->last ? HIGHWATER_HELD : HIGHWATER_COMPLETE;
}

/*
 * A look at a file that the sequence has only for this transaction.
 */
static void
highwater_own_file(Generations *generations, Highwater *result)
{
	result->mark = generations->mark;
	result->reached = Max(generations->reached, result->last);
	result->status = result->last < generations->reached ? HIGHWATER_REWOUND :
					 result->last == generations->mark	 ? HIGHWATER_COMPLETE :
														   HIGHWATER_HELD;
}

/*
 * A statement of this session that writes the log has drawn positions that it
 * has not written yet; in its midst, nothing of this transaction is settled.
 */
static void
highwater_require_quiet(Oid relid)
{
	Relation rel;
	int64 floor;
	bool quiet;
	char *name;

	/* Who has drawn a position has a floor. */
	if (!guard_own_floor(relid, &floor))
		return;
	rel = relation_open(relid, AccessShareLock);
	quiet = rel->rd_refcnt == 1;
	name = pstrdup(RelationGetRelationName(rel));
	relation_close(rel, NoLock);
	if (!quiet)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("log \"%s\" is in use by a statement of this session", name),
			 errhint(
				 "Call this outside of triggers on the log, and after closing cursors on it.")));
}

/*
 * What was settled is settled still, while the sequence cannot be read.
 */
static Highwater
highwater_unknown(Oid relid)
{
	Highwater result;
	LogRef ref;

	result.status = HIGHWATER_UNKNOWN;
	slot_log_ref(relid, false, &ref);
	if (!slot_log_read(&ref, &result.mark, &result.reached))
		result.mark = ref.slot != NULL ? 0 : generations_local(relid, 0, NULL)->mark;
	result.last = result.reached = result.mark;
	return result;
}

/*
 * A look at the generations in shared memory.  Caller holds the slot's lock.
 */
static void
highwater_look_at(LogSlot *slot, Relation sequence, HighwaterView view, Highwater *result)
{
	result->last = sequence_read(sequence);
	if (compat_file_is_new(sequence))
		highwater_own_file(&slot->generations, result);
	else
	{
		slot_log_reach(slot, result->last);
		highwater_look(&slot->generations, slot->relid, pg_atomic_read_u64(&slot->incarnation),
					   view, result);
	}
	pg_atomic_write_u64(&slot->mark, (uint64) slot->generations.mark);
	/* Somebody may move a cursor to this mark. */
	slot_pin(slot);
}

/*
 * The same, where the log has a slot or gets one; else false.
 */
static bool
highwater_look_shared(Oid relid, Relation sequence, HighwaterView view, Highwater *result)
{
	LogRef ref = {NULL, 0};
	int64 reached;

	while (seed_slot(relid, &ref, &reached))
	{
		LogSlot *slot = ref.slot;
		bool ours;

		LWLockAcquire(&slot->lock, LW_EXCLUSIVE);
		/* The slot changes hands under its lock: now that we have it, look again. */
		ours = slot_log_valid(&ref);
		if (ours)
			highwater_look_at(slot, sequence, view, result);
		LWLockRelease(&slot->lock);
		if (ours)
		{
			slot_log_used(slot);
			return true;
		}
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/*
 * The same at this backend's own generations.
 */
static void
highwater_look_local(Oid relid, Relation sequence, HighwaterView view, Highwater *result)
{
	Generations *generations = seed_local(relid);

	result->last = sequence_read(sequence);
	if (compat_file_is_new(sequence))
	{
		highwater_own_file(generations, result);
		return;
	}
	if (result->last < generations->reached)
		generations_forget(generations);
	generations->reached = Max(generations->reached, result->last);
	highwater_look(generations, relid, 0, view, result);
}

/*
 * The mark now, without waiting.  Take the snapshot that reads up to it
 * afterwards.
 */
Highwater
highwater_compute(Oid relid, Oid seqid, HighwaterView view)
{
	Highwater result;
	Relation sequence;

	if (view == HIGHWATER_OWN)
		highwater_require_quiet(relid);

	/* Opened outside the slot's lock: that must not wait for anything. */
	sequence = sequence_open_nowait(seqid);
	if (sequence == NULL)
		return highwater_unknown(relid);
	if (!highwater_look_shared(relid, sequence, view, &result))
		highwater_look_local(relid, sequence, view, &result);
	relation_close(sequence, AccessShareLock);
	return result;
}
