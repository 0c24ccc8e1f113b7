/*
 * slot_activity.c
 *		Publishes what this worker is doing.
 *
 * Only the worker itself writes its activity, so it may read it without a lock.  The
 * monitoring functions copy it under the spinlock.  Nothing that could fail or take much
 * time is called while the spinlock is held.
 *
 * Some single fields are written without the spinlock, because they are written for
 * each call of a handler or in a signal handler.  It does no harm if a reader sees
 * such a field a moment too early or too late.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "shmem/slot_activity.h"
#include "shmem/slot_memory.h"

void
slot_activity_set(WorkerActivity activity)
{
	WorkerSlot *slot = MyWorkerSlot;
	TimestampTz now;

	if (slot == NULL || slot->now.activity == activity)
		return;
	now = GetCurrentTimestamp();
	SpinLockAcquire(&slot->mutex);
	slot->now.activity = activity;
	slot->now.since = now;
	slot->now.overdue = false;
	if (activity == ACTIVITY_IDLE)
		slot->now.handling.manager = 0;
	SpinLockRelease(&slot->mutex);
}

/*
 * Is this process a worker with this activity?  Can be called in a signal
 * handler.
 */
bool
slot_activity_is(WorkerActivity activity)
{
	return MyWorkerSlot != NULL && MyWorkerSlot->now.activity == activity;
}

void
slot_activity_handling(const Handling *handling, const char *name)
{
	WorkerSlot *slot = MyWorkerSlot;

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	/* The name is usually that of the last call. */
	if (strcmp(slot->now.name, name) != 0)
		strlcpy(slot->now.name, name, NAMEDATALEN);
	handling_copy(&slot->now.handling, handling);
	SpinLockRelease(&slot->mutex);
}

void
slot_activity_called(TimestampTz at)
{
	if (MyWorkerSlot != NULL)
		MyWorkerSlot->now.called_at = at;
}

/*
 * Called in the handler of a timeout.
 */
void
slot_activity_overdue(void)
{
	if (MyWorkerSlot != NULL)
		MyWorkerSlot->now.overdue = true;
}

void
slot_activity_handled(void)
{
	if (MyWorkerSlot != NULL)
		((volatile WorkerSlot *) MyWorkerSlot)->now.handling.manager = 0;
}
