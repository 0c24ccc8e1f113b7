/*
 * isolate.c
 *		Finds the event that made a batch fail.
 *
 * Most batches have no failing event, so they run without a subtransaction for each event.
 * Only if events fail often are they handled in subtransactions (separate.c), and then the
 * search described here is not needed.  When a batch fails, everything it did is undone.
 * Then the events before the failing one are handled again, and after that the failing one
 * alone, in a transaction of its own.  Only if it fails there is it the cause.  If the error
 * does not tell which event it was (an array of events, a deferred constraint at the
 * commit), all events of the batch run one at a time.
 *
 * A conflict with another session is caused by no event.  After one, the batches are
 * smaller, and grow again as they succeed.
 */
#include "pm.h"

#include "dispatch/isolate.h"
#include "shmem/handling.h"

/*
 * If an event fails within this many events after the last failing one, the same number of
 * events is handled in subtransactions, which cost less than a batch or two.
 */
#define ISOLATE_OFTEN 250

/* The first batch where conflicts are likely. */
#define ISOLATE_SMALL 8

/*
 * The size of a batch, or the one to which a conflict has cut it.
 */
static int
isolate_size(const Isolate *isolate, int batch_size)
{
	return isolate->cut > 0 ? Min(isolate->cut, batch_size) : batch_size;
}

int
isolate_limit(const Isolate *isolate, int batch_size)
{
	int size = isolate_size(isolate, batch_size);

	if (isolate->prefix > 0)
		return Min(isolate->prefix, size);
	return isolate->singles > 0 ? 1 : size;
}

int
isolate_limit_parked(const Isolate *isolate, int batch_size)
{
	int size = isolate_size(isolate, batch_size);

	if (isolate->parked_prefix > 0)
		return Min(isolate->parked_prefix, size);
	return isolate->parked_singles > 0 ? 1 : size;
}

/*
 * The batch holds what it has written until it ends, and the longer it lasts, the more
 * likely it meets another session.  So it is cut to half the number of items that
 * succeeded.
 */
bool
isolate_conflict(Isolate *isolate, const Progress *progress)
{
	if (progress->stage == PROGRESS_PREPARE || progress->count <= 1)
		return false;
	isolate->cut = Max(progress->count / 2, 1);
	return true;
}

void
isolate_begin_small(Isolate *isolate)
{
	isolate->cut = ISOLATE_SMALL;
}

/*
 * If a tenth of the distance between failures shares a subtransaction, about one event in
 * twenty is handled again because another one has failed.  If more than one in six fails, it
 * is best if none has to be handled again.
 */
int
isolate_separate(const Isolate *isolate)
{
	if (isolate->separate == 0 || isolate->prefix > 0 || isolate->singles > 0)
		return 0;
	return isolate->gap < 6 ? 1 : Max(isolate->gap / 10, 2);
}

/*
 * Counts events that went well, and those that failed in subtransactions.
 */
static void
isolate_count(Isolate *isolate, const DispatchResult *result)
{
	if (result->parked)
		return;
	if (result->failed > 0)
	{
		isolate->separate = ISOLATE_OFTEN;
		isolate->gap = (isolate->gap + (isolate->succeeded + result->done) / result->failed) / 2;
		isolate->succeeded = 0;
		return;
	}
	isolate->separate = Max(isolate->separate - result->done, 0);
	isolate->succeeded = Min(isolate->succeeded + result->done, ISOLATE_OFTEN);
	isolate->gap = Max(isolate->gap, isolate->succeeded);
}

void
isolate_succeeded(Isolate *isolate, const DispatchResult *result, int batch_size)
{
	/* It has found only events of other lanes, and has not reached those to be tried. */
	if (result->done == 0 && result->outcome == DISPATCH_MORE && !result->left)
		return;
	isolate_count(isolate, result);
	/* A batch that was not full says nothing about a larger one. */
	if (isolate->cut > 0 && result->done >= isolate_size(isolate, batch_size))
		isolate->cut = isolate->cut < batch_size / 2 ? isolate->cut * 2 : 0;
	if (result->parked && isolate->parked_prefix > 0)
		isolate->parked_prefix = result->done > 0 ? Max(isolate->parked_prefix - result->done, 0) :
													0;
	else if (result->parked)
		isolate->parked_singles = Max(isolate->parked_singles - 1, 0);
	else if (result->left)
		isolate->singles = 1;
	else if (isolate->prefix > 0)
		isolate->prefix = result->done > 0 ? Max(isolate->prefix - result->done, 0) : 0;
	else if (isolate->singles > 0)
		isolate->singles = result->done > 0 ? isolate->singles - 1 : 0;
}

bool
isolate_busy(const Isolate *isolate)
{
	return isolate->prefix > 0 || isolate->singles > 0;
}

bool
isolate_failed(Isolate *isolate, const Progress *progress, HandlerKind kind)
{
	bool parked = progress->handling.source == HANDLING_PARKED;
	/* The items before the current one succeeded, unless the error may be that of another item. */
	bool known = progress->stage == PROGRESS_HANDLE &&
				 (kind != HANDLER_BATCH || parked || progress->handling.correlating);

	Assert(progress->stage != PROGRESS_PREPARE);
	if (progress->count == 1)
	{
		if (parked)
		{
			isolate->parked_prefix = 0;
			isolate->parked_singles = Max(isolate->parked_singles - 1, 0);
			return true;
		}
		isolate->prefix = isolate->singles = 0;
		if (isolate->succeeded < ISOLATE_OFTEN)
			isolate->separate = ISOLATE_OFTEN;
		isolate->gap = (isolate->gap + isolate->succeeded) / 2;
		isolate->succeeded = 0;
		return true;
	}
	if (parked)
	{
		isolate->parked_prefix = known ? progress->count - 1 : 0;
		isolate->parked_singles = known ? 1 : progress->count;
	}
	else if (known)
	{
		isolate->prefix = progress->count - 1;
		isolate->singles = 1;
	}
	else
	{
		isolate->prefix = 0;
		isolate->singles = progress->count;
	}
	return false;
}
