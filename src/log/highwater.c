/*
 * highwater.c
 *		Computes the high-water mark of a log, at or below which no event can appear any more.
 *
 * A sequence hands out positions before their transactions commit, so position 7 can be
 * visible while the transaction that drew 6 is still running.  A reader that sees 7 and
 * advances its cursor loses 6.  However long the reader waits, it cannot conclude that
 * 6 will not appear.  The lock manager allows that conclusion:
 *
 * 1. L := the last value of the log's sequence.
 * 2. H := the transactions that hold a lock on the table in a mode that a writer takes.
 * 3. When every member of H has ended, L is settled: it is a mark.
 * 4. Only then is the snapshot taken that reads up to L.
 *
 * Why nothing is missed: let a transaction T write position p <= L.  T locked
 * the table before it drew p (guard.c enforces that), p was drawn before L was
 * read, and H is read after L.  So T is in H, or T has ended, or T has rolled
 * back to a savepoint that it set before it drew p, which releases the lock and
 * removes the row.  T's lock may move from the fast-path slots of its backend
 * to the shared lock table, but never back, and GetLockConflicts() looks at
 * them in this order, so T cannot be overlooked between the two.
 * GetLockConflicts() leaves out transactions whose local transaction ID is
 * already cleared.  That is cleared together with the transaction ID, under
 * ProcArrayLock, so a snapshot that is taken afterwards sees T's commit.
 *
 * When the sequence is set back: the owner of the table can do that with setval(), at
 * any time and repeatedly, and then p <= L can be drawn after L was read.  So each look
 * (one computation of the mark) records L between step 1 and step 2: "reached" is the
 * highest L of all looks.  A writer reads it after it has taken its lock, and its floor
 * is never below it (guard.c).  Now let T write p <= L.  If T held its lock when H was
 * read, T is in H.  If not, T took its lock (again, after a savepoint) later, so T read
 * "reached" after L was recorded, its floor is at or above L, and p is refused.  This
 * holds no matter when p was drawn.  While the last value is below "reached", the
 * sequence has been set back and has not caught up: readers stop and report it, since
 * positions that have been used would be drawn again.
 *
 * An open transaction that has restarted the sequence (ALTER SEQUENCE) sees a file of
 * its own, which nobody else sees if the transaction rolls back.  What it sees there
 * must not be recorded, so its looks settle nothing.
 *
 * Nothing waits.  We keep generations (L, H) instead (generations.c).  Each time
 * a mark is asked for, every pending H is reduced to the transactions that
 * still hold their lock; the others have ended.  When an H has become empty, its
 * L is settled.  If all generations are in use, the newest one is overwritten,
 * because the oldest is the one that will be settled first.
 *
 * Hints: with generations alone, a long transaction that holds its lock at our look
 * would hold back even positions that were committed before it began to write.  So each
 * writer publishes a hint: a floor, at or below which it writes nothing (guard.c).  If
 * every member of H has a hint, everything up to min(L, their floors) is settled at
 * once.  If a member has none, the generations decide.  Such a member may be a prepared
 * transaction that was recovered, or one that writes more logs than there is room for
 * hints.  A transaction never writes at or below its hint, even if the sequence is set
 * back and the floor is lost with a savepoint: the next floor is not lower.
 *
 * This relies on the following:
 *
 * - The sequence is logged, has CACHE 1, a positive increment and no CYCLE, and
 *	 the table is an ordinary or partitioned logged table, not a partition (log_check.c).
 * - A transaction that writes a partitioned log holds the lock on its table, even if it inserts
 *	 into a partition (guard_row.c).  Otherwise the locks of all leaves count too, and H is known
 *	 only up to an L that was read before the leaves were looked up (partition.c).
 * - The reader's snapshot is taken after the mark.  Callers with a snapshot for the
 *	 whole transaction are refused.
 * - All readers of one log work on its generations one after another, under the
 *	 lock of its slot.  If a generation were reduced by an H that was read before
 *	 the generation was pushed, it would lose members that have not ended.  An H that
 *	 is read without the lock, because there are many leaves, reduces only generations
 *	 that were pushed before.
 * - The server is a primary.
 *
 * Without shared memory, or for a log without a slot in it (slot_log.c), each backend
 * has generations of its own, and cannot record for other backends what it has seen.
 * It notices that a sequence was set back, and then forgets its generations.  It does
 * not notice that a sequence was set back and forward again between two of its looks.
 * A slot is taken away from a log only when every transaction that has used its mark
 * has ended.  By then the transaction has moved a cursor to that mark, or the mark does
 * not matter.
 */
#include "pm.h"

#include "access/relation.h"
#include "utils/lsyscache.h"

#include "log/generations.h"
#include "log/guard.h"
#include "log/guard_ddl.h"
#include "log/highwater.h"
#include "log/seed.h"
#include "log/sequence.h"
#include "shmem/slot_log.h"
#include "shmem/slot_mark.h"

/*
 * Keeps (L, H) until all of H has ended.  If the slot has no room for so large
 * an H, this backend keeps it.  No other backend uses a backend's own
 * generations, so they too are reduced by one look after another.
 */
static void
highwater_keep(Generations *generations, Oid relid, uint64 incarnation, int64 last,
			   const HighwaterHolders *holders)
{
	if (!generations_push(generations, last, holders->vxids, holders->count))
		(void) generations_push(generations_local(relid, incarnation, NULL), last, holders->vxids,
								holders->count);
}

/*
 * The mark in this transaction's own view: generations that wait for no other
 * transaction are settled, and its own floor does not count.
 */
static int64
highwater_own_mark(Generations *generations, Generations *spilled, int64 last,
				   const HighwaterHolders *holders)
{
	int64 mark = generations_own_mark(generations);

	if (spilled != NULL)
		mark = Max(mark, generations_own_mark(spilled));
	if (holders->hinted)
		mark = Max(mark, Min(last, holders->floor));
	return mark;
}

/*
 * Begins a look, once L is known and recorded.  False if the result is known already.
 */
static bool
highwater_begin(const Generations *generations, Highwater *result)
{
	result->mark = generations->mark;
	result->reached = generations->reached;
	if (result->last < generations->reached)
		result->status = HIGHWATER_REWOUND;
	/* Everything is settled already: no need to ask the lock manager. */
	else if (result->last == generations->mark)
		result->status = HIGHWATER_COMPLETE;
	else
		return true;
	return false;
}

/*
 * Settles what can be settled.  H was read after L was recorded, and after the generations up to
 * "pushes" were pushed.
 *
 * Assumes that no other backend uses the generations: the caller holds the lock of the slot with
 * this incarnation, or they are this backend's own (incarnation 0).
 */
static void
highwater_settle(Generations *generations, const HighwaterTables *tables, uint64 incarnation,
				 HighwaterView view, const HighwaterHolders *holders, uint64 pushes,
				 Highwater *result)
{
	Generations *spilled = generations_spilled(tables->relid, incarnation);
	int64 last = Min(result->last, tables->last); /* up to here H is known */

	generations_cut(generations, holders->vxids, holders->count, pushes);
	if (spilled != NULL && spilled != generations)
	{
		generations_cut(spilled, holders->vxids, holders->count, PG_UINT64_MAX);
		generations->mark = Max(generations->mark, spilled->mark);
	}
	if (holders->count == 0)
		generations->mark = Max(generations->mark, last);
	else
	{
		/*
		 * In the own view, this transaction's floor is left out, so the lowest floor is
		 * not that of all members.
		 */
		if (holders->hinted && view == HIGHWATER_EVERYBODY)
			generations->mark = Max(generations->mark, Min(last, holders->floor));
		if (generations->mark < last)
			highwater_keep(generations, tables->relid, incarnation, last, holders);
	}

	result->mark = view == HIGHWATER_OWN ? highwater_own_mark(generations, spilled, last, holders) :
										   generations->mark;
	/* Another look, which began later, may have settled more than this one knows of. */
	result->mark = Min(result->mark, result->last);
	result->status = result->mark < result->last ? HIGHWATER_HELD : HIGHWATER_COMPLETE;
	pfree(holders->vxids);
}

/*
 * One look, during which no other backend uses the generations.
 */
static void
highwater_look(Generations *generations, const HighwaterTables *tables, uint64 incarnation,
			   HighwaterView view, Highwater *result)
{
	HighwaterHolders holders;

	if (!highwater_begin(generations, result))
		return;
	holders = highwater_holders(tables, view);
	highwater_settle(generations, tables, incarnation, view, &holders, generations->pushes, result);
}

/*
 * A look at a file that the sequence has only in this transaction: it settles
 * nothing.
 */
static void
highwater_own_file(Generations *generations, Highwater *result)
{
	result->mark = generations->mark;
	result->reached = Max(generations->reached, result->last);
	if (result->last < generations->reached)
		result->status = HIGHWATER_REWOUND;
	else if (result->last == generations->mark)
		result->status = HIGHWATER_COMPLETE;
	else
		result->status = HIGHWATER_HELD;
}

/*
 * Raises an error while a statement of this session is writing the log.  Such a
 * statement has drawn positions that it has not written yet, so nothing of this
 * transaction is settled.
 */
static void
highwater_require_quiet(Oid relid)
{
	Relation rel;
	int64 floor;
	bool quiet;
	char *name;

	/* A transaction that has drawn a position has a floor, or there is no guard. */
	if (!guard_own_floor(relid, &floor) && !highwater_self_writes(relid))
		return;
	/* A running statement keeps the table open. */
	rel = relation_open(relid, AccessShareLock);
	if (!guard_own_floor(relid, &floor) && guard_has_any(rel))
	{
		relation_close(rel, NoLock);
		return;
	}
	quiet = rel->rd_refcnt == 1;
	name = pstrdup(RelationGetRelationName(rel));
	relation_close(rel, NoLock);
	if (!quiet)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("log \"%s\" is in use by a statement of this session", name),
						errhint("Call this outside of triggers on the log, and after closing "
								"cursors on it.")));
}

/*
 * The result while the sequence cannot be read: what was settled before is still
 * settled.  The mark of a slot that is not seeded yet is not known.
 */
static Highwater
highwater_unknown(Oid relid)
{
	Highwater result;
	LogRef ref;

	result.status = HIGHWATER_UNKNOWN;
	slot_log_ref(relid, false, &ref);
	if (!slot_mark_read(&ref, &result.mark, &result.reached))
		result.mark = ref.slot != NULL ? 0 : generations_local(relid, 0, NULL)->mark;
	result.last = result.reached = result.mark;
	return result;
}

/*
 * A look at the generations in shared memory, which the caller has locked.  Reading H takes a
 * long time if the locks of many leaves count, so then it is read without the lock: returns true
 * if the caller has to do that, and to settle.
 */
static bool
highwater_look_at(const LogRef *ref, Generations *generations, const HighwaterTables *tables,
				  const Sequence *sequence, HighwaterView view, Highwater *result)
{
	result->last = sequence_read(sequence);
	if (sequence_is_new(sequence))
	{
		highwater_own_file(generations, result);
		return false;
	}
	/* L must be recorded before H is read. */
	slot_mark_reach(ref->slot, result->last);
	if (tables->leaves != NULL)
		return highwater_begin(generations, result);
	highwater_look(generations, tables, ref->incarnation, view, result);
	return false;
}

/*
 * The second part of such a look.  False if the log has lost its slot meanwhile.
 */
static bool
highwater_look_on(const LogRef *ref, const HighwaterTables *tables, HighwaterView view,
				  uint64 pushes, Highwater *result)
{
	HighwaterHolders holders = highwater_holders(tables, view);
	Generations *generations = slot_mark_lock(ref);

	if (generations == NULL)
	{
		pfree(holders.vxids);
		return false;
	}
	highwater_settle(generations, tables, ref->incarnation, view, &holders, pushes, result);
	slot_mark_unlock(ref->slot);
	return true;
}

/*
 * The same for a log that has a slot or gets one; false for any other.
 */
static bool
highwater_look_shared(const HighwaterTables *tables, const Sequence *sequence, HighwaterView view,
					  Highwater *result)
{
	LogRef ref = {NULL, 0};
	int64 reached;

	while (seed_slot(tables->relid, &ref, &reached))
	{
		Generations *generations = slot_mark_lock(&ref);

		if (generations != NULL)
		{
			uint64 pushes = generations->pushes;
			bool more = highwater_look_at(&ref, generations, tables, sequence, view, result);

			/* This also pins the slot, since the caller may move a cursor to the mark. */
			slot_mark_unlock(ref.slot);
			slot_mark_used(ref.slot);
			if (!more || highwater_look_on(&ref, tables, view, pushes, result))
				return true;
		}
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

/*
 * The same with this backend's own generations.
 */
static void
highwater_look_local(const HighwaterTables *tables, const Sequence *sequence, HighwaterView view,
					 Highwater *result)
{
	Generations *generations = seed_local(tables->relid);

	result->last = sequence_read(sequence);
	if (sequence_is_new(sequence))
	{
		highwater_own_file(generations, result);
		return;
	}
	/*
	 * Transactions other than the members of a pending generation may draw its
	 * positions again.
	 */
	if (result->last < generations->reached)
		generations_forget(generations);
	generations->reached = Max(generations->reached, result->last);
	highwater_look(generations, tables, 0, view, result);
}

Highwater
highwater_compute(Oid relid, Oid seqid, HighwaterView view)
{
	HighwaterTables tables;
	Highwater result;
	Sequence sequence;

	if (view == HIGHWATER_OWN)
		highwater_require_quiet(relid);

	/* Opening may wait, so it must not happen under the slot's lock. */
	if (!sequence_open_nowait(seqid, &sequence))
		return highwater_unknown(relid);
	if (!highwater_tables(&tables, relid, &sequence))
		result = highwater_unknown(relid);
	else if (!highwater_look_shared(&tables, &sequence, view, &result))
		highwater_look_local(&tables, &sequence, view, &result);
	sequence_close(&sequence);
	return result;
}
