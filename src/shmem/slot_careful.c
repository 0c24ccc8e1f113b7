/*
 * slot_careful.c
 *		Whose turn it is, in the whole cluster, to make a call that is noted after a promotion.
 *
 * If a server is lost, the item in its note (note.c) counts as the cause of the loss.  So
 * only one dispatcher of the cluster at a time notes an item and calls the handler for it.
 * Dispatchers wait in a queue, and meanwhile run what need not be noted.  The first one
 * is woken when the turn is free.  If it is busy, it may miss its turn, and the next ones
 * need not wait for it.
 *
 * Roles share the time, not the turns: otherwise roles whose calls take almost a second
 * would leave hardly any time to a role with quick handlers.  The time that a turn lasts is
 * added to what its role has used, and the role that has used least is the first in the
 * queue.  It stays the first from one turn to the next, until it has used as much as the
 * next role.  A role does not save up time while it does not wait.  When it begins to wait
 * again, it counts as having used as much as the role that began its turn last (start-time
 * fair queueing).
 *
 * A call that takes a long time must not hold up all others.  After a second, the others
 * begin.  Before that, the scheduler of the database of the long call marks its note as
 * shared, and the notes of the others are shared from the beginning: then none of these
 * items is known to be the cause.  An item that may have crashed a server already must be
 * alone, so it waits until the others have ended, and they wait for it for much longer.
 *
 * A worker that ends gives up its turn with its slot.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "shmem/slot_careful.h"
#include "shmem/slot_database.h"
#include "shmem/slot_memory.h"
#include "shmem/slot_wake.h"

/* After this time others begin although a call, or one of a suspected item, goes on, ms. */
#define SLOT_CAREFUL_ALONE	   1000
#define SLOT_CAREFUL_SUSPECTED 60000

/* A worker that has waited this long begins although a note could not be marked, ms. */
#define SLOT_CAREFUL_UNMARKED 10000

/* How long the others wait for the first one in the queue to take its turn, ms. */
#define SLOT_CAREFUL_OFFER 100

static int
slot_careful_lasts(const WorkerSlot *slot)
{
	return slot->careful_suspected ? SLOT_CAREFUL_SUSPECTED : SLOT_CAREFUL_ALONE;
}

/*
 * Has the call of this worker lasted too long, without its note being marked?
 */
static bool
slot_careful_is_long(const WorkerSlot *slot, TimestampTz now)
{
	return slot->in_use && slot->careful_turn != 0 && slot->careful_noted &&
		   !slot->careful_shared &&
		   TimestampDifferenceExceeds(slot->careful_since, now, slot_careful_lasts(slot));
}

/*
 * Has this worker waited for this long, ms?
 */
static bool
slot_careful_waited(TimestampTz now, int ms)
{
	return MyWorkerSlot->careful_ticket != 0 &&
		   TimestampDifferenceExceeds(MyWorkerSlot->careful_waits, now, ms);
}

/*
 * Does the call of another worker keep this one from beginning?
 */
static bool
slot_careful_blocks(const WorkerSlot *slot, TimestampTz now)
{
	if (!TimestampDifferenceExceeds(slot->careful_since, now, slot_careful_lasts(slot)))
		return true;
	/*
	 * If its commit still waits for a synchronous standby, it does not block: it asks again
	 * before it makes its call.  A wait for other standbys is limited.
	 */
	if (!slot->careful_noted)
		return slot->careful_awaits;
	return !slot->careful_shared && !slot_careful_waited(now, SLOT_CAREFUL_UNMARKED);
}

/*
 * Does one come before the other in the queue?  A worker that does not wait in the queue yet
 * comes after all others whose roles have used the same time.
 */
static bool
slot_careful_before(const WorkerSlot *slot, const WorkerSlot *other)
{
	if (slot->careful_used != other->careful_used)
		return slot->careful_used < other->careful_used;
	return slot->careful_ticket != 0 &&
		   (other->careful_ticket == 0 || slot->careful_ticket < other->careful_ticket);
}

/*
 * Called before this worker is compared with others.  If it neither waits nor has a turn, its
 * role counts as having used at least careful_reached.  The caller holds Slots->lock.
 */
static void
slot_careful_come(void)
{
	WorkerSlot *me = MyWorkerSlot;

	if (me->careful_ticket != 0 || me->careful_turn != 0)
		return;
	me->careful_used = Max(me->careful_used, Slots->careful_reached);
	/* The role may have had other dispatchers, some of which have ended. */
	for (int i = 0; i < Slots->nworkers; i++)
		if (Slots->workers[i].role == me->role)
			me->careful_used = Max(me->careful_used, Slots->workers[i].careful_used);
}

/*
 * Adds the time since the turn began, or since the note was committed, to what the role has
 * used.  Only the time in which a call is alone counts: after that it holds up nobody.  The
 * caller holds Slots->lock.
 */
static void
slot_careful_charge(TimestampTz now)
{
	WorkerSlot *me = MyWorkerSlot;
	int64 lasted = Max(now - me->careful_since, 0);

	me->careful_used += Min(lasted, slot_careful_lasts(me) * INT64CONST(1000));
	for (int i = 0; i < Slots->nworkers; i++)
		if (Slots->workers[i].role == me->role)
			Slots->workers[i].careful_used = Max(Slots->workers[i].careful_used, me->careful_used);
}

/*
 * May this worker begin?  The caller holds Slots->lock.  *others is set if others have
 * not ended.
 */
static bool
slot_careful_free(bool suspected, TimestampTz now, bool *others)
{
	WorkerSlot *me = MyWorkerSlot;
	bool offered = !TimestampDifferenceExceeds(Slots->careful_free, now, SLOT_CAREFUL_OFFER);
	bool alone = suspected && !slot_careful_waited(now, SLOT_CAREFUL_SUSPECTED);
	bool may = true;

	*others = false;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use || slot == me)
			continue;
		if (slot->careful_turn != 0)
		{
			*others = true;
			may &= !alone && !slot_careful_blocks(slot, now);
		}
		else if (slot->careful_ticket != 0 && offered && !slot->careful_absent)
			may &= slot_careful_before(me, slot);
	}
	return may;
}

/*
 * Has schedulers mark the notes of calls that last too long.
 */
static void
slot_careful_press(TimestampTz now)
{
	static TimestampTz last = 0;

	if (!TimestampDifferenceExceeds(last, now, SLOT_CAREFUL_OFFER))
		return;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		/* Without the lock: at worst, a scheduler is woken for no reason. */
		if (slot_careful_is_long(slot, now))
		{
			last = now;
			slot_wake_kind(WORKER_SCHEDULER, slot->database);
			/* Or have one started. */
			slot_database_touch(slot->database);
		}
	}
}

/*
 * Workers that could have taken the turn, and have not, are no longer waited for until they
 * ask again.  The caller holds Slots->lock.
 */
static void
slot_careful_pass_by(void)
{
	WorkerSlot *me = MyWorkerSlot;

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot != me && slot->careful_ticket != 0 &&
			slot_careful_before(slot, me))
			slot->careful_absent = true;
	}
}

/*
 * Enters the queue, or shows that this worker is still there.  The caller holds Slots->lock.
 */
static void
slot_careful_wait(TimestampTz now)
{
	WorkerSlot *me = MyWorkerSlot;

	if (me->careful_ticket == 0)
	{
		me->careful_ticket = ++Slots->careful_number;
		me->careful_waits = now;
	}
	me->careful_absent = me->careful_more = false;
}

void
slot_careful_misses(bool misses)
{
	MyWorkerSlot->careful_misses = misses;
}

bool
slot_careful_ask(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool others;
	bool may;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot_careful_come();
	may = MyWorkerSlot->careful_turn != 0 || slot_careful_free(false, now, &others);
	if (!may)
		slot_careful_wait(now);
	LWLockRelease(&Slots->lock);
	if (!may)
		slot_careful_press(now);
	return may;
}

bool
slot_careful_take(bool suspected, bool *others)
{
	WorkerSlot *me = MyWorkerSlot;
	TimestampTz now = GetCurrentTimestamp();
	bool may;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot_careful_come();
	may = slot_careful_free(suspected, now, others) || me->careful_turn != 0;
	if (may)
	{
		slot_careful_pass_by();
		if (me->careful_turn != 0)
			slot_careful_charge(now);
		Slots->careful_reached = Max(Slots->careful_reached, me->careful_used);
		me->careful_turn = ++Slots->careful_number;
		me->careful_since = now;
		me->careful_suspected = suspected;
		me->careful_awaits = me->careful_noted = false;
		me->careful_shared = *others;
		me->careful_ticket = 0;
		me->careful_more = false;
	}
	else
		slot_careful_wait(now);
	LWLockRelease(&Slots->lock);
	if (!may)
		slot_careful_press(now);
	return may;
}

void
slot_careful_awaits(void)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	MyWorkerSlot->careful_awaits = true;
	LWLockRelease(&Slots->lock);
}

/*
 * If the commit has taken a long time, others may have begun meanwhile, and this note does not
 * say so.
 */
bool
slot_careful_noted(void)
{
	WorkerSlot *me = MyWorkerSlot;
	TimestampTz now = GetCurrentTimestamp();
	bool may = true;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	me->careful_awaits = false;
	if (!me->careful_shared)
		for (int i = 0; i < Slots->nworkers; i++)
			if (&Slots->workers[i] != me && Slots->workers[i].in_use)
				may &= Slots->workers[i].careful_turn == 0;
	if (may)
	{
		slot_careful_charge(now);
		me->careful_noted = true;
		me->careful_since = now;
	}
	LWLockRelease(&Slots->lock);
	return may;
}

/*
 * The first in the queue of those that have not missed their turn, or -1.  The caller holds
 * Slots->lock.
 */
static int
slot_careful_first(void)
{
	int first = -1;

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && !slot->careful_absent && slot->careful_ticket != 0 &&
			(first < 0 || slot_careful_before(slot, &Slots->workers[first])))
			first = i;
	}
	return first;
}

/*
 * A worker that has more to do waits from now on.  Otherwise the next one in the queue would
 * often be faster, although this one's role has used less time.
 */
void
slot_careful_release(bool more)
{
	WorkerSlot *me = MyWorkerSlot;
	TimestampTz now;
	int first;

	if (me == NULL || (me->careful_turn == 0 && (more || !me->careful_more)))
		return;
	now = GetCurrentTimestamp();
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	if (me->careful_turn != 0)
		slot_careful_charge(now);
	me->careful_turn = me->careful_ticket = 0;
	if (more)
		slot_careful_wait(now);
	me->careful_more = more;
	Slots->careful_free = now;
	first = slot_careful_first();
	LWLockRelease(&Slots->lock);
	if (first >= 0 && &Slots->workers[first] != me)
		slot_wake(first);
}

/* ---------- turns that last too long ---------- */

int
slot_careful_long(uint64 *turns, int room)
{
	TimestampTz now = GetCurrentTimestamp();
	int count = 0;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	for (int i = 0; i < Slots->nworkers && count < room; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->database == MyWorkerSlot->database && slot_careful_is_long(slot, now))
			turns[count++] = slot->careful_turn;
	}
	LWLockRelease(&Slots->lock);
	return count;
}

/*
 * A worker that has begun another turn meanwhile has another number.
 */
void
slot_careful_shared(const uint64 *turns, int count)
{
	int first;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < Slots->nworkers; i++)
		for (int n = 0; n < count; n++)
			if (Slots->workers[i].careful_turn == turns[n])
				Slots->workers[i].careful_shared = true;
	Slots->careful_free = GetCurrentTimestamp();
	first = slot_careful_first();
	LWLockRelease(&Slots->lock);
	if (first >= 0)
		slot_wake(first);
}
