/*
 * generations.c
 *		The generations of a log: which positions wait for which transactions.
 *
 * highwater.c explains them.  A generation is a last position and the set of
 * transactions that could still write at or below it.  The sets overlap, so
 * that each transaction is kept once, with a bit for every generation that it
 * belongs to.  Whoever works on generations keeps others off them: the log's
 * slot is locked, or they are this backend's own.
 */
#include "pm.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "log/generations.h"

/*
 * The generations of a backend: of a log that has none in shared memory, or those
 * that had no room there.
 */
typedef struct LocalGenerations
{
	Oid relid;			/* hash key */
	bool seeded;		/* the mark was at least the furthest cursor */
	uint64 incarnation; /* of the slot that had no room for them, 0: there was no slot */
	Generations generations;
} LocalGenerations;

static HTAB *local_table = NULL;

/*
 * The generations of this backend for a log, which has none in shared memory
 * (incarnation 0) or not all.  They are good for as long as the log has the same
 * slot, or none: writers go by what shared memory knows.
 */
Generations *
generations_local(Oid relid, uint64 incarnation, bool **seeded)
{
	LocalGenerations *local;
	bool found;

	if (local_table == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(LocalGenerations);
		local_table = hash_create("pm generations", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	local = hash_search(local_table, &relid, HASH_ENTER, &found);
	if (!found)
		memset((char *) local + sizeof(Oid), 0, sizeof(LocalGenerations) - sizeof(Oid));
	else if (local->incarnation != incarnation)
	{
		local->seeded = false;
		local->generations.mark = 0;
		local->generations.reached = 0;
		generations_forget(&local->generations);
	}
	local->incarnation = incarnation;
	if (seeded != NULL)
		*seeded = &local->seeded;
	return &local->generations;
}

/*
 * Forgets what waits for somebody: it settles with what is seen from now on.
 */
void
generations_forget(Generations *generations)
{
	generations->used = 0;
	generations->nmembers = 0;
}

/*
 * Those that wait, of a log, if this backend has any.
 */
Generations *
generations_spilled(Oid relid, uint64 incarnation)
{
	LocalGenerations *local = local_table ? hash_search(local_table, &relid, HASH_FIND, NULL) :
											NULL;

	return local != NULL && local->incarnation == incarnation && local->generations.used != 0 ?
			   &local->generations :
			   NULL;
}

/*
 * Makes room for this many members, unless it is fixed: in shared memory.
 */
static bool
generations_make_room(Generations *generations, int nmembers)
{
	Size size;

	if (nmembers <= generations->max_members)
		return true;
	if (generations->fixed)
		return false;
	size = sizeof(GenerationMember) * Max(nmembers, 2 * SLOT_MEMBERS);
	generations->members = generations->members == NULL ?
							   MemoryContextAlloc(TopMemoryContext, size) :
							   repalloc(generations->members, size);
	generations->max_members = size / sizeof(GenerationMember);
	return true;
}

static int
generations_find(Generations *generations, VirtualTransactionId vxid)
{
	int m;

	for (m = 0; m < generations->nmembers; m++)
		if (VirtualTransactionIdEquals(generations->members[m].vxid, vxid))
			break;
	return m;
}

/*
 * Drops from all generations who is not among the holders, and settles the
 * generations that have become empty.
 */
void
generations_cut(Generations *generations, VirtualTransactionId *holders, int nholders)
{
	int n = 0;
	uint32 pending = 0;

	for (int i = 0; i < generations->nmembers; i++)
	{
		GenerationMember *member = &generations->members[i];

		for (int j = 0; j < nholders; j++)
			if (VirtualTransactionIdEquals(holders[j], member->vxid))
			{
				pending |= member->generations;
				generations->members[n++] = *member;
				break;
			}
	}
	generations->nmembers = n;
	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if ((generations->used & ~pending) & (1U << g))
			generations->mark = Max(generations->mark, generations->last[g]);
	generations->used &= pending;
}

/*
 * Adds the generation (last, holders); overwrites the newest when all are in
 * use.  False if there is no room for all of the holders.
 */
bool
generations_push(Generations *generations, int64 last, VirtualTransactionId *holders, int nholders)
{
	int newest = -1;
	int unknown = 0;
	int g;

	for (int i = 0; i < SLOT_GENERATIONS; i++)
		if ((generations->used & (1U << i)) &&
			(newest < 0 || generations->last[i] > generations->last[newest]))
			newest = i;

	/* The same L again would say less: its writers can only be more. */
	if (newest >= 0 && generations->last[newest] == last)
		return true;

	for (int i = 0; i < nholders; i++)
		if (generations_find(generations, holders[i]) == generations->nmembers)
			unknown++;
	if (!generations_make_room(generations, generations->nmembers + unknown))
		return false;

	for (g = 0; g < SLOT_GENERATIONS; g++)
		if (!(generations->used & (1U << g)))
			break;
	if (g == SLOT_GENERATIONS)
	{
		g = newest;
		for (int i = 0; i < generations->nmembers; i++)
			generations->members[i].generations &= ~(1U << g);
	}
	generations->used |= 1U << g;
	generations->last[g] = last;
	for (int i = 0; i < nholders; i++)
	{
		int m = generations_find(generations, holders[i]);

		if (m == generations->nmembers)
		{
			Assert(m < generations->max_members);
			generations->members[m].vxid = holders[i];
			generations->members[m].generations = 0;
			generations->nmembers++;
		}
		generations->members[m].generations |= 1U << g;
	}
	return true;
}

/*
 * The mark for a transaction that may read its own events: generations that
 * wait for nobody else count as settled.
 */
int64
generations_own_mark(Generations *generations)
{
	VirtualTransactionId me = compat_my_vxid();
	uint32 pending = 0;
	int64 mark = generations->mark;

	for (int i = 0; i < generations->nmembers; i++)
		if (!VirtualTransactionIdEquals(generations->members[i].vxid, me))
			pending |= generations->members[i].generations;
	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if ((generations->used & ~pending) & (1U << g))
			mark = Max(mark, generations->last[g]);
	return mark;
}
