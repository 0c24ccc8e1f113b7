/*
 * keyless.c
 *		Events whose key correlate cannot determine: never, or not yet.
 *
 * An error with SQLSTATE PM003 in correlate is permanent: the event is parked as dead.
 * If correlate calls pm.defer, because an instance that it looks for has not begun, the
 * event is parked as deferred.  In both cases it has no key, so nothing waits behind it.
 * Every lane asks for the key, but only the lane of the event's stream parks it.
 *
 * When the time of a deferred event has come, or a person has called pm.retry, the event
 * is parked under the key, or the keys, that it has now, in the lane of each key, and is
 * tried like any parked event.  Later events of the key may have been handled meanwhile.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "base/within.h"
#include "dispatch/call_correlate.h"
#include "dispatch/keyless.h"
#include "dispatch/separate.h"
#include "manager/head.h"
#include "manager/manager_lock.h"
#include "manager/park.h"

/* When to try again if the lane of the key is busy, ms. */
#define KEYLESS_BUSY 50

typedef struct KeylessAsk
{
	Calls *calls;
	BatchItem *item;
	int nth;
} KeylessAsk;

static void
keyless_correlate(void *arg)
{
	KeylessAsk *ask = arg;

	(void) call_correlate(ask->calls, ask->item, ask->nth);
}

ErrorData *
keyless_ask(Calls *calls, BatchItem *item, int nth, Failure *failure)
{
	KeylessAsk ask = {calls, item, nth};
	ErrorData *error = separate_try(calls, keyless_correlate, &ask);

	if (error == NULL)
		return NULL;
	*failure = failure_of(error);
	if (failure->kind == FAILURE_ORDINARY)
		ReThrowError(error);
	call_resume(calls);
	return error;
}

/*
 * Locks the lane of a key.  False if another session works on it: this transaction
 * holds the lock of its own lane, so it must not wait for another.
 */
static bool
keyless_lock(const BatchTask *task, const Key *key, int *lane)
{
	*lane = (int) (key_hash(key->name, strlen(key->name)) % (uint32) task->pm->lanes);
	return *lane == task->lane || manager_lock_unit(task->pm->id, *lane, true);
}

/*
 * Parks an event under a key, in the lane of that key.
 */
static void
keyless_park(const BatchTask *task, const BatchItem *item, Key *key, int lane)
{
	Key known = {.name = key->name};
	ParkRows *rows = park_rows_now(task->pm, lane);

	/* What this session remembers of the other lane may be old, since it has not run it. */
	if (lane != task->lane)
		head_forget(task->pm->name, lane);
	if (park_has(task->pm, lane, &known))
		park_behind(rows, key->name, item->event, item->too_large);
	else
		park_untried(rows, key->name, item->event, item->too_large);
	/* The dispatcher of the other lane looks again for what is due. */
	if (lane != task->lane)
		registry_changed();
}

void
keyless_give(const BatchTask *task, BatchItem *item)
{
	bool ours = !item->passed;
	Key **keys = item->nkeys > 0 ? item->keys : &item->key;
	int count = !ours ? 0 : Max(item->nkeys, 1);
	int *lanes = palloc(sizeof(int) * Max(count, 1));

	for (int i = 0; i < count; i++)
		if (!keyless_lock(task, keys[i], &lanes[i]))
		{
			LogTrouble busy = {.locked = true};

			park_unreadable(task->pm, task->lane, item->id, within_later(KEYLESS_BUSY), &busy);
			return;
		}
	/* If correlate returns no key now, the event is not for this process manager. */
	(void) park_take(item->id);
	for (int i = 0; i < count; i++)
		keyless_park(task, item, keys[i], lanes[i]);
}

void
keyless_retry(Calls *calls, BatchItem *item)
{
	(void) call_correlate(calls, item, 1);
	keyless_give(calls->task, item);
}
