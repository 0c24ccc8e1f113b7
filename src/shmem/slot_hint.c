/*
 * slot_hint.c
 *		Shared memory: what writers say of themselves.
 *
 * A transaction that writes a log publishes a floor, "nothing of mine is at or
 * below it" (guard.c, highwater.c).  Each backend has room for the hints of one
 * transaction, in sets by log, so that a reader need not look at all: it goes on
 * to the next set only where one is full of this transaction's hints.  When all
 * are full, the transaction has no hint for a log: the mark then rises later, by
 * the generations.
 */
#include "pm.h"

#include "common/hashfn.h"
#include "storage/shmem.h"

#include "shmem/slot.h"

/* What a writer says of itself, of a log. */
typedef struct WriterHint
{
	pg_atomic_uint32 lxid; /* of the transaction that published, 0: none */
	Oid database;
	Oid relid;
	int64 floor; /* nothing of mine is at or below it */
} WriterHint;

#define SLOT_HINTS (SLOT_HINT_SETS * SLOT_HINT_WAYS)

static WriterHint *hints; /* COMPAT_VXID_INDEX_MAX * SLOT_HINTS */

static inline Size
slot_hint_size(void)
{
	return mul_size(mul_size(COMPAT_VXID_INDEX_MAX, SLOT_HINTS), sizeof(WriterHint));
}

void
slot_hint_shmem_request(void)
{
	RequestAddinShmemSpace(slot_hint_size());
}

/*
 * The caller holds AddinShmemInitLock.
 */
void
slot_hint_shmem_startup(void)
{
	bool found;

	hints = ShmemInitStruct("pm hints", slot_hint_size(), &found);
	if (found)
		return;
	memset(hints, 0, slot_hint_size());
	for (int i = 0; i < COMPAT_VXID_INDEX_MAX * SLOT_HINTS; i++)
		pg_atomic_init_u32(&hints[i].lxid, InvalidLocalTransactionId);
}

/*
 * A set of a backend's hints: the first, second and so on in which a log's can be.
 */
static inline WriterHint *
slot_hint_set(int backend, Oid relid, int nth)
{
	uint32 set = (murmurhash32(relid) + nth) % SLOT_HINT_SETS;

	return &hints[backend * SLOT_HINTS + set * SLOT_HINT_WAYS];
}

/*
 * Publishes this transaction's hint for a log, once, if there is room.  The tag
 * goes last: a reader that sees it sees the rest.
 */
void
slot_hint_publish(Oid relid, int64 floor)
{
	uint32 lxid = compat_proc_lxid(MyProc);

	for (int i = 0; i < SLOT_HINTS; i++)
	{
		WriterHint *hint = slot_hint_set(compat_my_index(), relid, i / SLOT_HINT_WAYS) +
						   i % SLOT_HINT_WAYS;

		if (pg_atomic_read_u32(&hint->lxid) == lxid)
			continue;
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
 * Is it the hint of this transaction for this log?
 */
static bool
slot_hint_is(WriterHint *hint, LocalTransactionId lxid, Oid relid, int64 *floor)
{
	bool ours = hint->database == MyDatabaseId && hint->relid == relid;

	*floor = hint->floor;
	pg_read_barrier();
	return ours && pg_atomic_read_u32(&hint->lxid) == lxid;
}

/*
 * The hint that a transaction published for a log, if any.
 */
bool
slot_hint(VirtualTransactionId vxid, Oid relid, int64 *floor)
{
	int index = compat_vxid_index(vxid);

	if (Slots == NULL || index < 0 || index >= COMPAT_VXID_INDEX_MAX)
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
		if (!full)
			return false;
	}
	return false;
}
