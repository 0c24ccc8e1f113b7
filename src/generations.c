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

#include "generations.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The generations of a backend that has no shared memory for a log. */
typedef struct LocalGenerations
{
	Oid			relid;			/* hash key */
	Generations generations;
} LocalGenerations;

static HTAB *local_table = NULL;

/*
 * The generations of this backend for a log that has none in shared memory.
 */
Generations *
generations_local(Oid relid)
{
	LocalGenerations *local;
	bool		found;

	if (local_table == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(LocalGenerations);
		local_table = hash_create("pm generations", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	local = hash_search(local_table, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(&local->generations, 0, sizeof(local->generations));
		local->generations.max_members = MaxBackends + max_prepared_xacts + 1;
		local->generations.members =
			MemoryContextAlloc(TopMemoryContext,
							   sizeof(GenerationMember) * local->generations.max_members);
	}
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
 * Drops from all generations who is not among the holders, and settles the
 * generations that have become empty.
 */
void
generations_cut(Generations *generations, VirtualTransactionId *holders, int nholders)
{
	int			n = 0;
	uint32		pending = 0;

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
 * use.
 */
void
generations_push(Generations *generations, int64 last, VirtualTransactionId *holders, int nholders)
{
	int			newest = -1;
	int			g;

	for (int i = 0; i < SLOT_GENERATIONS; i++)
		if ((generations->used & (1U << i)) &&
			(newest < 0 || generations->last[i] > generations->last[newest]))
			newest = i;

	/* The same L again would say less: its writers can only be more. */
	if (newest >= 0 && generations->last[newest] == last)
		return;

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
		int			m;

		for (m = 0; m < generations->nmembers; m++)
			if (VirtualTransactionIdEquals(generations->members[m].vxid, holders[i]))
				break;
		if (m == generations->nmembers)
		{
			Assert(m < generations->max_members);
			generations->members[m].vxid = holders[i];
			generations->members[m].generations = 0;
			generations->nmembers++;
		}
		generations->members[m].generations |= 1U << g;
	}
}

/*
 * The mark for a transaction that may read its own events: generations that
 * wait for nobody else count as settled.
 */
int64
generations_own_mark(Generations *generations)
{
	VirtualTransactionId me = compat_my_vxid();
	uint32		pending = 0;
	int64		mark = generations->mark;

	for (int i = 0; i < generations->nmembers; i++)
		if (!VirtualTransactionIdEquals(generations->members[i].vxid, me))
			pending |= generations->members[i].generations;
	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if ((generations->used & ~pending) & (1U << g))
			mark = Max(mark, generations->last[g]);
	return mark;
}
