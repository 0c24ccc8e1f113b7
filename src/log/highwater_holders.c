/*
 * highwater_holders.c
 *		The transactions that hold the locks that writers of a log take.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/twophase.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

#include "log/guard.h"
#include "log/highwater_holders.h"
#include "shmem/slot_hint.h"

/*
 * The leaves are known only if this backend could lock the table.  L is read first: whatever
 * position is drawn by then is written to a leaf that partition_set() returns.
 */
bool
highwater_tables(HighwaterTables *tables, Oid relid, const Sequence *sequence)
{
	Relation root;
	AttrNumber position;

	tables->relid = relid;
	tables->leaves = NULL;
	tables->last = PG_INT64_MAX;
	if (!partition_leaves_count(relid, &position))
		return true;
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	if (sequence != NULL)
		tables->last = sequence_read(sequence);
	root = try_relation_open(relid, NoLock);
	if (root != NULL)
	{
		tables->leaves = partition_set_nowait(root, position);
		relation_close(root, NoLock);
	}
	UnlockRelationOid(relid, AccessShareLock);
	return tables->leaves != NULL;
}

void
highwater_await_tables(Oid relid)
{
	Relation root;
	AttrNumber position;

	if (!partition_leaves_count(relid, &position))
		return;
	root = try_relation_open(relid, AccessShareLock);
	if (root == NULL)
		return;
	(void) partition_set(root, position);
	relation_close(root, AccessShareLock);
}

static bool
highwater_self_holds(Oid relid)
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

bool
highwater_self_writes(Oid relid)
{
	HighwaterTables tables;

	if (highwater_self_holds(relid))
		return true;
	(void) highwater_tables(&tables, relid, NULL);
	for (int i = 0; tables.leaves != NULL && i < tables.leaves->count; i++)
		if (highwater_self_holds(tables.leaves->leaves[i].relid))
			return true;
	return false;
}

/*
 * Is it a vacuum, an analyze by autovacuum, or a concurrent index build?  These
 * hold a lock that a writer takes, but write nothing.  If a function that they
 * call (in an index expression) tries to write, the guard refuses that.
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

	/*
	 * The flags are set before a transaction locks anything, and stay until it
	 * ends.  So they are those of this transaction if the backend still runs it
	 * after they were read.
	 */
	flags = *((volatile uint8 *) &proc->statusFlags);
	pg_memory_barrier();
	return (flags & GUARD_NEVER_WRITES) != 0 && compat_proc_lxid(proc) == vxid.localTransactionId;
}

/*
 * Adds this transaction, which GetLockConflicts() leaves out, to H.  In its own
 * view it counts as a member, but its floor does not hold the mark back.
 */
static void
highwater_add_self(HighwaterHolders *holders, Oid relid, HighwaterView view)
{
	int64 floor;

	if (view == HIGHWATER_EVERYBODY)
	{
		if (guard_own_floor(relid, &floor))
			holders->floor = Min(holders->floor, floor);
		else
			holders->hinted = false;
	}
	holders->vxids[holders->count++] = compat_my_vxid();
}

/*
 * Adds the holders of one table's lock to H.
 */
static void
highwater_add_holders(HighwaterHolders *holders, Oid relid, Oid root)
{
	LOCKTAG tag;
	int nfound;
	VirtualTransactionId *found;

	/* The modes that conflict with ShareLock are those that a writer can take. */
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	found = GetLockConflicts(&tag, ShareLock, &nfound);
	for (int i = 0; i < nfound; i++)
	{
		VirtualTransactionId vxid = found[i];
		int64 floor;
		bool known = false;

		/* It may hold the locks of several leaves. */
		for (int j = 0; relid != root && !known && j < holders->count; j++)
			known = VirtualTransactionIdEquals(holders->vxids[j], vxid);
		if (known)
			continue;
		if (slot_hint(vxid, root, &floor))
			holders->floor = Min(holders->floor, floor);
		else if (highwater_is_maintenance(vxid))
			continue;
		else
			holders->hinted = false;
		holders->vxids[holders->count++] = vxid;
	}
	pfree(found);
}

/*
 * Reads H.
 */
HighwaterHolders
highwater_holders(const HighwaterTables *tables, HighwaterView view)
{
	HighwaterHolders holders = {NULL, 0, true, PG_INT64_MAX};
	const PartitionSet *leaves = tables->leaves;
	bool self = highwater_self_holds(tables->relid);

	/* No more transactions can be open; and there is one more place, for this one. */
	holders.vxids = palloc(sizeof(VirtualTransactionId) * (MaxBackends + max_prepared_xacts + 1));
	highwater_add_holders(&holders, tables->relid, tables->relid);
	for (int i = 0; leaves != NULL && i < leaves->count; i++)
	{
		highwater_add_holders(&holders, leaves->leaves[i].relid, tables->relid);
		self = self || highwater_self_holds(leaves->leaves[i].relid);
	}
	if (self)
		highwater_add_self(&holders, tables->relid, view);
	return holders;
}

VirtualTransactionId *
highwater_writers(Oid relid, int *count)
{
	HighwaterTables tables;
	HighwaterHolders holders;

	(void) highwater_tables(&tables, relid, NULL);
	holders = highwater_holders(&tables, HIGHWATER_EVERYBODY);
	*count = holders.count;
	return holders.vxids;
}
