/*
 * fetch_parked.c
 *		Parked events that a consumer fetches.
 *
 * One call fetches from the queue of one key.  An event that has failed before comes
 * alone; after it has been advanced, the next call fetches the events behind it.
 */
#include "pm.h"

#include "utils/timestamp.h"

#include "base/event.h"
#include "base/within.h"
#include "dispatch/as_owner.h"
#include "dispatch/fetch_key.h"
#include "dispatch/fetch_parked.h"
#include "dispatch/fetch_row.h"
#include "dispatch/keyless.h"
#include "dispatch/retry.h"
#include "manager/failure.h"
#include "manager/instance.h"
#include "manager/park.h"
#include "manager/park_event.h"
#include "manager/park_queue.h"

/* When to try an event again whose log is locked, or cannot be read, ms. */
#define FETCH_PARKED_LOCKED		1000
#define FETCH_PARKED_UNREADABLE 5000

/*
 * A timer whose instance has ended leaves its queue, and so does an event that is gone
 * from its log.
 */
static bool
fetch_parked_lives(ProcessManager *pm, const Parked *parked, const Key *key)
{
	if (parked->log != NULL ? parked->event != (Datum) 0 :
							  key->live || event_is_sent(parked->event))
		return true;
	(void) park_take(parked->id);
	if (parked->log != NULL)
	{
		BatchItem item = {.position = parked->position, .log_name = parked->log};

		retry_say_gone(pm, &item);
	}
	return false;
}

/*
 * Reads the rows of the key, beginning with the head.  One that has failed before comes
 * alone.
 */
static List *
fetch_parked_read(FetchCall *call, const Lease *lease, const Parked *head, bool again)
{
	List *queue = park_read(lease->pm, lease->lane, head->key, head->id,
							head->attempts > 0 ? 1 : call->max_count);

	for (int i = 0; i < list_length(queue); i++)
	{
		const Parked *parked = list_nth(queue, i);

		if ((i > 0 && parked->attempts > 0) ||
			(again && !lease_has(lease->parked, lease->nparked, parked->id)))
			return list_truncate(queue, i);
	}
	return queue;
}

/*
 * Reads the events from their logs, as the owner.  Returns how many there are before the
 * first one whose log cannot be read.
 */
static int
fetch_parked_events(ProcessManager *pm, List *queue, LogTrouble *trouble)
{
	ParkReader reader;
	AsOwner as;
	int count = 0;
	ListCell *lc;

	as_owner_begin(&as, pm);
	park_event_begin(&reader, false);
	foreach(lc, queue)
	{
		Parked *parked = lfirst(lc);

		if (park_event_enough(&reader) ||
			(parked->log != NULL && !park_event_read(&reader, parked)))
			break;
		count++;
	}
	*trouble = reader.trouble;
	park_event_end(&reader);
	as_owner_end(&as);
	return count;
}

/*
 * Fetches the events of a queue.  Returns how many.
 */
static int
fetch_parked_queue(FetchCall *call, Lease *lease, List *queue, TimestampTz until)
{
	Keys keys;
	Key *key;
	int64 *ids = NULL;
	int count = 0;
	ListCell *lc;

	key_begin(&keys);
	key = key_get_text(&keys, ((Parked *) linitial(queue))->key);
	instance_load(lease->pm, key);
	foreach(lc, queue)
	{
		const Parked *parked = lfirst(lc);

		if (!fetch_parked_lives(lease->pm, parked, key))
			continue;
		fetch_row(call->fcinfo, parked->event, parked->id, key, parked->attempts + 1, lease->lane,
				  until);
		ids = lease_add(ids, &count, parked->id);
	}
	lease->parked = ids;
	lease->nparked = count;
	return count;
}

/*
 * Asks for the key of a parked event that has none.
 */
static void
fetch_parked_ask(ProcessManager *pm, const BatchTask *task, BatchItem *item)
{
	Batch batch = {.task = task, .count = 1, .events = &item};
	Handling what = {.source = HANDLING_PARKED, .lane = task->lane, .id = item->id};
	Failure failure;
	ErrorData *error;

	key_begin(&batch.keys);
	if (fetch_keys(&batch, &error) == 1)
	{
		keyless_give(task, item);
		return;
	}
	fetch_key_check(pm, error);
	failure = failure_of(error);
	what.position = item->position;
	strlcpy(what.log, item->log_name, sizeof(what.log));
	(void) park_failed_again(pm, &what, error, false, &failure);
	if (failure.kind != FAILURE_DEFERRED)
		lane_error(pm->name, task->lane);
}

/*
 * A parked event without a key is due.  It goes to the queue of its key, if it has one
 * now.
 */
static FetchOutcome
fetch_parked_keyless(const Lease *lease, Parked *head)
{
	ProcessManager *pm = lease->pm;
	LogTrouble trouble;
	BatchTask task = {.pm = pm, .lane = lease->lane, .now = within_time()};
	BatchItem item = {.source = HANDLING_PARKED,
					  .log = BATCH_ITEM_NO_LOG,
					  .id = head->id,
					  .position = head->position,
					  .log_name = head->log};

	if (fetch_parked_events(pm, list_make1(head), &trouble) == 0)
		park_unreadable(pm, lease->lane, head->id, within_later(FETCH_PARKED_UNREADABLE), &trouble);
	else if (head->event == (Datum) 0)
	{
		(void) park_take(head->id);
		retry_say_gone(pm, &item);
	}
	else
	{
		item.event = head->event;
		item.too_large = head->too_large;
		fetch_parked_ask(pm, &task, &item);
	}
	return FETCH_PASSED;
}

FetchOutcome
fetch_parked(FetchCall *call, Lease *lease, bool again)
{
	ProcessManager *pm = lease->pm;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pm->lease);
	Parked *head = again ? park_get(pm, lease->parked[0]) :
						   park_due(pm, lease->lane, 0, within_time());
	LogTrouble trouble;
	List *queue;
	int count;
	ListCell *lc;

	if (head == NULL)
	{
		/* What was fetched has been discarded since. */
		lease_give_up(lease, 0);
		return again ? FETCH_PASSED : FETCH_NOTHING;
	}
	if (head->key == NULL)
		return fetch_parked_keyless(lease, head);
	queue = fetch_parked_read(call, lease, head, again);
	count = fetch_parked_events(pm, queue, &trouble);
	lease->parked_last = true;
	if (count == 0)
	{
		/* The other keys need not wait until the log can be read. */
		park_unreadable(pm, lease->lane, head->id,
						within_later(trouble.locked ? FETCH_PARKED_LOCKED :
													  FETCH_PARKED_UNREADABLE),
						&trouble);
		return FETCH_PASSED;
	}
	queue = list_truncate(queue, count);
	if (fetch_parked_queue(call, lease, queue, until) == 0)
	{
		park_promote(pm, lease->lane, head->key, ((Parked *) llast(queue))->id);
		return FETCH_PASSED;
	}
	foreach(lc, lease->logs)
	{
		((Fetched *) lfirst(lc))->up_to = 0;
		((Fetched *) lfirst(lc))->nevents = 0;
	}
	lease->ntimers = 0;
	lease_take(lease, call->consumer->consumer, until);
	return FETCH_ROWS;
}
