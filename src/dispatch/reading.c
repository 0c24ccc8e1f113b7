/*
 * reading.c
 *		What has been read of a log: for a batch, and for the next.
 *
 * A dispatcher runs many units one after the other.  Those that follow one log
 * and are equally far want the same events, and one that follows many logs
 * needs only a few of each in one batch.  So what was read is kept for a
 * moment, in memory of this process.  That is allowed since it was settled when
 * it was read: at or below the mark, where nothing can appear any more and
 * nothing is changed.  (An event that is deleted or updated all the same is
 * handled as if that had come later.)  Whoever uses it has checked the owner's
 * rights afresh, and computes the mark afresh for what is beyond.
 *
 * pm.catch_up keeps nothing when it returns: it reads what its own transaction
 * has written, which a savepoint can undo.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/event.h"
#include "dispatch/reading.h"
#include "log/log_index.h"

/* For how long it is kept, ms, and how much at the most, bytes. */
#define READING_AGE	  1000
#define READING_BYTES ((Size) 32 * 1024 * 1024)

/* Room for so many events to begin with. */
#define READING_ROOM 64

static HTAB *readings = NULL;
static Size kept = 0;						  /* bytes in them */
static MemoryContext readings_context = NULL; /* parent of those that are kept */
static MemoryContext batch_context = NULL;	  /* of those that only this batch still uses */

/*
 * At the beginning of a batch: what none uses any more is freed.
 */
void
reading_begin(void)
{
	if (batch_context == NULL)
		batch_context = AllocSetContextCreate(TopMemoryContext, "pm reading of this batch",
											  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(batch_context);
	if (readings != NULL && kept > READING_BYTES)
		reading_forget();
	if (readings == NULL)
	{
		HASHCTL ctl;

		readings_context = AllocSetContextCreate(TopMemoryContext, "pm readings",
												 ALLOCSET_SMALL_SIZES);
		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(ReadingKey);
		ctl.entrysize = sizeof(Reading);
		ctl.hcxt = readings_context;
		readings = hash_create("pm readings", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

/*
 * Forgets all, in between two batches.
 */
void
reading_forget(void)
{
	if (batch_context != NULL)
		MemoryContextReset(batch_context);
	if (readings != NULL)
		MemoryContextDelete(readings_context);
	readings = NULL;
	kept = 0;
}

/*
 * A reading that has some event after a position, and *next, the first of them;
 * NULL if there is none.
 */
Reading *
reading_find(const ReadingKey *key, uint64 version, int64 after, int *next)
{
	Reading *reading = hash_search(readings, key, HASH_FIND, NULL);
	TimestampTz now = GetCurrentTimestamp();

	*next = 0;
	if (reading == NULL || reading->version != version || after < reading->after ||
		after >= reading->up_to || now < reading->read_at ||
		TimestampDifferenceExceeds(reading->read_at, now, READING_AGE))
		return NULL;
	while (*next < reading->count && reading->events[*next].position <= after)
		(*next)++;
	return *next < reading->count ? reading : NULL;
}

/* Makes events of rows. */
typedef struct ReadingReceiver
{
	const ReadingRequest *request;
	Reading *reading;
	TupleDesc event_desc;
	int64 last_position; /* wanted or not */
	bool enough;
} ReadingReceiver;

/*
 * A row becomes an event at once, without a copy in between.  False when
 * nothing more is needed.
 */
static bool
reading_take(void *arg, EventFields *fields)
{
	ReadingReceiver *receiver = arg;
	Reading *reading = receiver->reading;
	MemoryContext caller;
	ReadingEvent *event;

	reading->looked_at++;
	receiver->last_position = DatumGetInt64(fields->values[EVENT_POSITION - 1]);
	/* The table's owner can have allowed NULL: that comes before all that has a time. */
	reading->last_time = fields->nulls[EVENT_RECORDED_AT - 1] ?
							 DT_NOBEGIN :
							 DatumGetTimestampTz(fields->values[EVENT_RECORDED_AT - 1]);
	if (receiver->request->wants != NULL &&
		!receiver->request->wants(receiver->request->arg, fields))
		return true;

	caller = MemoryContextSwitchTo(reading->context);
	if (reading->count == reading->room)
	{
		reading->room = Max(reading->room * 2, READING_ROOM);
		reading->events = reading->events == NULL ?
							  palloc(sizeof(ReadingEvent) * reading->room) :
							  repalloc_huge(reading->events, sizeof(ReadingEvent) * reading->room);
	}
	event = &reading->events[reading->count++];
	event->position = receiver->last_position;
	event->time = reading->last_time;
	event->too_large = event_excess(fields);
	event->event = event->too_large > 0 ?
					   event_form_stub(fields) :
					   HeapTupleGetDatum(
						   heap_form_tuple(receiver->event_desc, fields->values, fields->nulls));
	MemoryContextSwitchTo(caller);
	receiver->enough = reading->count >= receiver->request->limit ||
					   MemoryContextMemAllocated(reading->context, false) > READING_BYTES;
	return !receiver->enough;
}

/*
 * Keeps a reading in place of what was read before for the same key, whose events
 * may be in use until the end of the batch.
 */
static Reading *
reading_keep(const Reading *fresh)
{
	bool found;
	Reading *reading = hash_search(readings, &fresh->key, HASH_ENTER, &found);

	if (found)
	{
		MemoryContextSetParent(reading->context, batch_context);
		kept -= reading->bytes;
	}
	*reading = *fresh;
	MemoryContextSetParent(reading->context, readings_context);
	kept += reading->bytes;
	return reading;
}

/*
 * Reads, in place of what has been read before for the same key; who has that
 * in use may go on using its events until the end of the batch.  Runs after the
 * mark was computed that "up_to" does not exceed, under a snapshot of its own,
 * with the rights checked.  NULL when the log has no index to go along: then, as
 * after an error, what was read before is as it was.
 */
Reading *
reading_read(PmLog *log, const ReadingRequest *request)
{
	Reading reading;
	ReadingReceiver receiver = {request, &reading, NULL, 0, false};
	bool has_index;

	memset(&reading, 0, sizeof(reading));
	reading.key = request->key;
	reading.read_at = GetCurrentTimestamp();
	reading.version = request->version;
	reading.after = request->after;
	receiver.event_desc = lookup_rowtype_tupdesc(event_type(), -1);
	/* Until it is complete it belongs to this batch, which may fail here. */
	reading.context = AllocSetContextCreate(batch_context, "pm reading", ALLOCSET_DEFAULT_SIZES);
	has_index = log_index_read(log, request->after, request->up_to, request->rows, reading_take,
							   &receiver);
	ReleaseTupleDesc(receiver.event_desc);
	if (!has_index)
		return NULL;
	reading.up_to = receiver.enough || reading.looked_at == request->rows ? receiver.last_position :
																			request->up_to;
	reading.bytes = MemoryContextMemAllocated(reading.context, false);
	return reading_keep(&reading);
}
