/*
 * generations.c
 *		The generations of a log: which positions wait for which transactions.
 *
 * highwater.c explains what they are for.  A generation is a last position and
 * the set of transactions that may still write at or below it.  The sets
 * overlap, so each transaction is kept once, with a bit for every generation
 * that it belongs to.
 *
 * The caller makes sure that no other backend uses the generations: it holds
 * the lock of the log's slot, or the generations are this backend's own.
 */
#include "pm.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "log/generations.h"
#include "shmem/slot_generations.h"

/*
 * The generations that a backend keeps itself: all those of a log without a slot
 * in shared memory, or those for which the slot had no room.
 */
typedef struct LocalGenerations
{
	Oid relid;			/* hash key */
	bool seeded;		/* the mark is not below the furthest cursor (seed.c) */
	uint64 incarnation; /* of the slot that had no room; 0: the log has no slot */
	Generations generations;
} LocalGenerations;

static HTAB *local_table = NULL;

/*
 * They are valid as long as the log has the same slot, or none.  Writers only
 * respect positions that readers have recorded in the log's present slot.  They
 * do not know about positions that were seen while the log had another slot, or
 * none.
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
		/* The log has another slot now, or none: writers do not know what was seen before. */
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

void
generations_forget(Generations *generations)
{
	generations->used = 0;
	generations->nmembers = 0;
}

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
 * Makes room for this many members.  False if there is not enough and it cannot
 * be enlarged, because it is in shared memory.
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

/*
 * The index of the member with this vxid; the number of members if there is none.
 */
static int
generations_find(Generations *generations, VirtualTransactionId vxid)
{
	int m;

	for (m = 0; m < generations->nmembers; m++)
		if (VirtualTransactionIdEquals(generations->members[m].vxid, vxid))
			break;
	return m;
}

static bool
generations_has(const VirtualTransactionId *holders, int nholders, VirtualTransactionId vxid)
{
	/* Both sets are usually small, so a hash table would cost more than these loops. */
	for (int j = 0; j < nholders; j++)
		if (VirtualTransactionIdEquals(holders[j], vxid))
			return true;
	return false;
}

/*
 * Members that are no longer among the holders have ended, or have rolled back
 * to before they could write.  A generation without members is settled.
 *
 * A generation that was pushed after the holders were read can have members that hold their
 * lock since then, so it stays as it is.
 */
void
generations_cut(Generations *generations, VirtualTransactionId *holders, int nholders,
				uint64 pushes)
{
	int n = 0;
	uint32 old = 0;
	uint32 pending = 0;

	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if (generations->number[g] <= pushes)
			old |= 1U << g;
	for (int i = 0; i < generations->nmembers; i++)
	{
		GenerationMember *member = &generations->members[i];

		if (!generations_has(holders, nholders, member->vxid))
			member->generations &= ~old;
		if (member->generations == 0)
			continue;
		pending |= member->generations;
		generations->members[n++] = *member;
	}
	generations->nmembers = n;
	/* "pending" has the generations that some holder still belongs to. */
	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if ((generations->used & ~pending) & (1U << g))
			generations->mark = Max(generations->mark, generations->last[g]);
	generations->used &= pending;
}

/*
 * The pending generation with the highest position, -1 if there is none.
 */
static int
generations_newest(const Generations *generations)
{
	int newest = -1;

	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if ((generations->used & (1U << g)) &&
			(newest < 0 || generations->last[g] > generations->last[newest]))
			newest = g;
	return newest;
}

/*
 * A generation that is not in use.  If all are in use, the newest one is
 * overwritten, because the oldest is the one that will be settled first.
 */
static int
generations_free(Generations *generations)
{
	int g;

	for (g = 0; g < SLOT_GENERATIONS; g++)
		if (!(generations->used & (1U << g)))
			return g;
	g = generations_newest(generations);
	for (int i = 0; i < generations->nmembers; i++)
		generations->members[i].generations &= ~(1U << g);
	return g;
}

bool
generations_push(Generations *generations, int64 last, VirtualTransactionId *holders, int nholders)
{
	int newest = generations_newest(generations);
	int unknown = 0;
	int g;

	/*
	 * A second generation with the same L could only have more members, and would not
	 * be settled earlier.  One with a higher L was pushed by a look that began later.
	 */
	if (newest >= 0 && generations->last[newest] >= last)
		return true;

	/* Make sure first that there is room, because otherwise nothing may be changed. */
	for (int i = 0; i < nholders; i++)
		if (generations_find(generations, holders[i]) == generations->nmembers)
			unknown++;
	if (!generations_make_room(generations, generations->nmembers + unknown))
		return false;

	g = generations_free(generations);
	generations->used |= 1U << g;
	generations->last[g] = last;
	generations->number[g] = ++generations->pushes;
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

int64
generations_own_mark(Generations *generations)
{
	VirtualTransactionId me = compat_my_vxid();
	uint32 pending = 0;
	int64 mark = generations->mark;

	/* "pending" has the generations that have a member other than this transaction. */
	for (int i = 0; i < generations->nmembers; i++)
		if (!VirtualTransactionIdEquals(generations->members[i].vxid, me))
			pending |= generations->members[i].generations;
	for (int g = 0; g < SLOT_GENERATIONS; g++)
		if ((generations->used & ~pending) & (1U << g))
			mark = Max(mark, generations->last[g]);
	return mark;
}
