/*
 * slot_press.c
 *		Makes a dispatcher leave when others wait for its place.
 *
 * When no worker leaves of its own accord (slot_place.c), one dispatcher is "pressed".
 * First it is asked to end its batch after the current event, then its handler is
 * canceled, and at last its session is ended.  The work of the canceled handler is
 * undone, and the call does not count as an attempt.
 *
 * The dispatcher that is pressed belongs to a role that has more than its share of
 * the places.  If there is no such role, it is one whose handler has run for
 * longer than its allowance; the scheduler doubles the allowance each time.
 * Otherwise it is the dispatcher that began its batch last, so that the others
 * make progress.
 *
 * A dispatcher that cannot be ended, because its code never checks for interrupts,
 * counts as a place of its own role, but takes no place from other roles.
 */
#include "pm.h"

#include <signal.h>

#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot_place_count.h"
#include "shmem/slot_press.h"
#include "shmem/slot_wake.h"

/* A worker waits this long to be started before a dispatcher is pressed, ms. */
#define PRESS_PATIENCE 600

/* A dispatcher is only pressed when it has been busy with its batch this long, ms. */
#define PRESS_MIN_RUN 400

/*
 * After a dispatcher was asked to leave: when its handler is canceled, when its
 * session is ended, and when it is given up, ms.
 */
#define PRESS_CANCEL  100
#define PRESS_END	  400
#define PRESS_GIVE_UP 1500

/*
 * Takes the next step with dispatchers that were asked to give way but have not
 * done so.  A commit is not interrupted, because it may wait for a synchronous
 * standby.
 */
static void
slot_press_insist(TimestampTz now)
{
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];
		int64 ms;

		if (!slot_place_is_dispatcher(slot) || slot->pressed_at == 0 || slot->pid == 0 ||
			slot->now.activity == ACTIVITY_COMMITTING)
			continue;
		ms = (now - slot->pressed_at) / 1000;
		if (slot->pressed == PRESSED_ASKED && ms >= PRESS_CANCEL)
		{
			slot->pressed = PRESSED_CANCELLED;
			slot->gave_way = slot->generation;
			(void) kill(slot->pid, SIGUSR2);
		}
		else if (slot->pressed == PRESSED_CANCELLED && ms >= PRESS_END)
		{
			slot->pressed = PRESSED_ENDED;
			(void) kill(slot->pid, SIGTERM);
		}
		else if (slot->pressed == PRESSED_ENDED && ms >= PRESS_GIVE_UP)
			slot->pressed = PRESSED_GIVEN_UP;
	}
}

/*
 * How many roles have a dispatcher?
 */
static int
slot_press_roles(void)
{
	int roles = 0;

	for (int i = 0; i < Slots->nworkers; i++)
	{
		/* A role counts with the first of its dispatchers. */
		bool first = slot_place_is_dispatcher(&Slots->workers[i]);

		for (int j = 0; j < i && first; j++)
			first = !slot_place_is_dispatcher(&Slots->workers[j]) ||
					Slots->workers[j].role != Slots->workers[i].role;
		roles += first ? 1 : 0;
	}
	return roles;
}

/*
 * The dispatcher to be pressed, of one role, or of any role if that is InvalidOid.
 * NULL if none has been busy with its batch for long enough.
 */
static WorkerSlot *
slot_press_victim(PlaceCount *count, Oid role, TimestampTz now)
{
	WorkerSlot *victim = NULL;
	int roles = Max(slot_press_roles() + count->wanted_roles, 1);
	int share = Max(guc_max_workers / roles, 1);
	int most = 0;	/* how many places the victim's role has beyond its share */
	int64 over = 0; /* how long the victim has run beyond its allowance */

	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];
		int64 ran = (now - slot->now.since) / 1000;
		int beyond;
		int64 slot_over;

		if (!slot_place_is_dispatcher(slot) || slot->makes_room || slot->pid == 0 ||
			ran < PRESS_MIN_RUN || (OidIsValid(role) && slot->role != role) ||
			(slot->now.activity != ACTIVITY_HANDLING && slot->now.activity != ACTIVITY_READING))
			continue;
		/* Places beyond the share come first, then time beyond the allowance, then the age. */
		beyond = Max(slot_place_of_role(slot->role) - share, 0);
		slot_over = Max(ran - slot->allowance, 0);
		if (victim != NULL &&
			(beyond != most					  ? beyond < most :
			 beyond == 0 && slot_over != over ? slot_over < over :
												slot->now.since < victim->now.since))
			continue;
		victim = slot;
		most = beyond;
		over = slot_over;
	}
	return victim;
}

/*
 * A worker that waits calls this repeatedly.  When no worker has left of its own
 * accord for too long, one is pressed.
 */
void
slot_press(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz before = now - PRESS_PATIENCE * INT64CONST(1000);
	TimestampTz since;
	PlaceCount count;
	WorkerSlot *victim = NULL;

	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	slot_press_insist(now);
	slot_place_count(&count);
	if (slot_place_lacking(&count) && count.since <= before)
		victim = slot_press_victim(&count, InvalidOid, now);
	else if (OidIsValid(MyWorkerSlot->waits_role) &&
			 slot_place_role_waits(MyWorkerSlot->waits_role, &since) && since <= before)
		victim = slot_press_victim(&count, MyWorkerSlot->waits_role, now);
	if (victim != NULL)
	{
		victim->makes_room = true;
		victim->pressed_at = now;
		victim->pressed = PRESSED_ASKED;
		pg_atomic_write_u32(&victim->leave, LEAVE_FOR_OTHERS);
		slot_wake(victim - Slots->workers);
	}
	LWLockRelease(&Slots->lock);
}

/*
 * Called when this worker starts a dispatcher.  The handlers of the dispatcher in
 * this slot may run this long before it is preferred as the one to give way.
 */
void
slot_press_allow(int index, int64 ms)
{
	LWLockAcquire(&Slots->lock, LW_EXCLUSIVE);
	Slots->workers[index].allowance = ms;
	LWLockRelease(&Slots->lock);
}
