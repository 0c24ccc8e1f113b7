/*
 * slot_hint.c
 *		The hints that writers publish.
 *
 * A hint is the position at or below which a transaction writes nothing in a log
 * (guard.c, highwater.c).  Each backend has room for the hints of one transaction.
 * They are in sets, which are chosen by log, so that a reader need not search all
 * hints.  A reader continues in the next set only if a set is full of this
 * transaction's hints.  When all sets are full, the transaction has no hint for a
 * further log.  Then the mark rises later, when the transactions of its generations
 * have ended.
 */
#include "pm.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "base/shared_memory.h"
#include "shmem/slot_hint.h"

/* A backend has this many sets of this many hints. */
#define SLOT_HINT_SETS 16
#define SLOT_HINT_WAYS 4

typedef struct WriterHint
{
	pg_atomic_uint32 lxid; /* of the transaction that published it, 0: none */
	Oid database;
	Oid relid;
	int64 floor;
} WriterHint;

#define SLOT_HINTS (SLOT_HINT_SETS * SLOT_HINT_WAYS)

static WriterHint *hints = NULL; /* COMPAT_VXID_INDEX_MAX * SLOT_HINTS */

static inline Size
slot_hint_size(void)
{
	return mul_size(mul_size(COMPAT_VXID_INDEX_MAX, SLOT_HINTS), sizeof(WriterHint));
}

static void
slot_hint_request(void)
{
	RequestAddinShmemSpace(slot_hint_size());
}

static void
slot_hint_startup(void)
{
	bool found;

	hints = ShmemInitStruct("pm hints", slot_hint_size(), &found);
	if (found)
		return;
	memset(hints, 0, slot_hint_size());
	for (int i = 0; i < COMPAT_VXID_INDEX_MAX * SLOT_HINTS; i++)
		pg_atomic_init_u32(&hints[i].lxid, InvalidLocalTransactionId);
}

void
slot_hint_install(void)
{
	shared_memory_add(slot_hint_request, slot_hint_startup);
}

/*
 * The nth of the sets of a backend's hints in which a log's hint can be.
 */
static inline WriterHint *
slot_hint_set(int backend, Oid relid, int nth)
{
	uint32 set = (murmurhash32(relid) + nth) % SLOT_HINT_SETS;

	return &hints[backend * SLOT_HINTS + set * SLOT_HINT_WAYS];
}

void
slot_hint_publish(Oid relid, int64 floor)
{
	uint32 lxid = compat_proc_lxid(MyProc);

	for (int i = 0; i < SLOT_HINTS; i++)
	{
		WriterHint *hint = slot_hint_set(compat_my_index(), relid, i / SLOT_HINT_WAYS) +
						   i % SLOT_HINT_WAYS;

		/*
		 * This transaction uses this one for another log.  Hints of earlier
		 * transactions are free.
		 */
		if (pg_atomic_read_u32(&hint->lxid) == lxid)
			continue;
		/* The transaction's id is written last: a reader that sees it sees the rest. */
		pg_atomic_write_u32(&hint->lxid, InvalidLocalTransactionId);
		pg_write_barrier();
		hint->database = MyDatabaseId;
		hint->relid = relid;
		hint->floor = floor;
		pg_write_barrier();
		pg_atomic_write_u32(&hint->lxid, lxid);
		return;
	}
}

/*
 * Is this the hint of the transaction for the log?
 */
static bool
slot_hint_is(WriterHint *hint, LocalTransactionId lxid, Oid relid, int64 *floor)
{
	bool ours = hint->database == MyDatabaseId && hint->relid == relid;

	*floor = hint->floor;
	/* Another transaction may have overwritten the hint meanwhile. */
	pg_read_barrier();
	return ours && pg_atomic_read_u32(&hint->lxid) == lxid;
}

bool
slot_hint(VirtualTransactionId vxid, Oid relid, int64 *floor)
{
	int index = compat_vxid_index(vxid);

	if (hints == NULL || index < 0 || index >= COMPAT_VXID_INDEX_MAX)
		return false;
	for (int nth = 0; nth < SLOT_HINT_SETS; nth++)
	{
		WriterHint *hint = slot_hint_set(index, relid, nth);
		bool full = true;

		for (int i = 0; i < SLOT_HINT_WAYS; i++)
		{
			if (pg_atomic_read_u32(&hint[i].lxid) != vxid.localTransactionId)
			{
				full = false;
				continue;
			}
			pg_read_barrier();
			if (slot_hint_is(&hint[i], vxid.localTransactionId, relid, floor))
				return true;
		}
		/* If this set has room, the hint would have been published in it. */
		if (!full)
			return false;
	}
	return false;
}
