/*
 * reading.c
 *		What has been read of a log, for a batch and for the next ones.
 *
 * A dispatcher runs many units one after the other.  Units that follow one log
 * and are equally far want the same events, and a unit that follows many logs
 * needs only a few events of each in one batch.  So what was read is kept for a
 * moment, in memory of this process.
 *
 * This is safe because only events at or below the mark are kept: nothing can
 * appear there any more, and events are not changed.  (If one is deleted or
 * updated all the same, the batch handles it as if that had happened later.)
 * Whoever uses a kept reading has checked the owner's rights again, and computes
 * the mark again for what comes after it.
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

#define READING_AGE	  1000						/* how long a reading is kept, ms */
#define READING_BYTES ((Size) 32 * 1024 * 1024) /* in one reading, and kept in all of them */
#define READING_ROOM  64						/* for this many events to begin with */

static HTAB *readings = NULL;
static Size kept = 0;						  /* bytes in them */
static MemoryContext readings_context = NULL; /* parent of those that are kept */
static MemoryContext passing_context = NULL;  /* of those that only this batch still uses */

void
reading_begin(void)
{
	if (passing_context == NULL)
		passing_context = AllocSetContextCreate(TopMemoryContext, "pm reading of this batch",
												ALLOCSET_SMALL_SIZES);
	MemoryContextReset(passing_context);
	/* A batch before may use what is kept, so that it shrinks only here. */
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

void
reading_forget(void)
{
	if (passing_context != NULL)
		MemoryContextReset(passing_context);
	if (readings != NULL)
		MemoryContextDelete(readings_context);
	readings = NULL;
	kept = 0;
}

Reading *
reading_find(const ReadingKey *key, uint64 version, int64 after, int *next)
{
	Reading *reading = hash_search(readings, key, HASH_FIND, NULL);
	TimestampTz now = GetCurrentTimestamp();

	*next = 0;
	/* A clock that was set back makes its age unknown. */
	if (reading == NULL || reading->version != version || after < reading->after ||
		after >= reading->up_to || now < reading->read_at ||
		TimestampDifferenceExceeds(reading->read_at, now, READING_AGE))
		return NULL;
	while (*next < reading->count && reading->events[*next].position <= after)
		(*next)++;
	return *next < reading->count ? reading : NULL;
}

/* ---------- reading ---------- */

static bool
reading_wants(const ReadingFilter *filter, const EventFields *fields)
{
	NullableDatum stream = {fields->values[EVENT_STREAM - 1], fields->nulls[EVENT_STREAM - 1]};

	if (filter->types != NULL && !log_types_have(filter->types, fields))
		return false;
	return filter->share == NULL ||
		   lane_share_has(filter->share, stream, DatumGetInt64(fields->values[EVENT_POSITION - 1]));
}

/*
 * Adds a row as an event.  It becomes one at once, without a copy in between.
 */
static void
reading_add(Reading *reading, TupleDesc event_desc, EventFields *fields)
{
	MemoryContext caller = MemoryContextSwitchTo(reading->context);
	ReadingEvent *event;

	if (reading->count == reading->room)
	{
		reading->room = Max(reading->room * 2, READING_ROOM);
		reading->events = reading->events == NULL ?
							  palloc(sizeof(ReadingEvent) * reading->room) :
							  repalloc_huge(reading->events, sizeof(ReadingEvent) * reading->room);
	}
	event = &reading->events[reading->count++];
	event->position = reading->last_position;
	event->time = reading->last_time;
	event->too_large = event_excess(fields);
	if (event->too_large > 0)
		event->event = event_form_stub(fields);
	else
		event->event = HeapTupleGetDatum(
			heap_form_tuple(event_desc, fields->values, fields->nulls));
	MemoryContextSwitchTo(caller);
}

/*
 * Takes one row: notes how far the log has been read, and adds the event if it
 * is wanted.  False when the reading has as much as it may have.
 */
static bool
reading_take(Reading *reading, const ReadingRequest *request, TupleDesc event_desc,
			 EventFields *fields)
{
	reading->looked_at++;
	reading->last_position = DatumGetInt64(fields->values[EVENT_POSITION - 1]);
	/* The table's owner can have allowed NULL: such an event comes before all others. */
	reading->last_time = fields->nulls[EVENT_RECORDED_AT - 1] ?
							 DT_NOBEGIN :
							 DatumGetTimestampTz(fields->values[EVENT_RECORDED_AT - 1]);
	if (!reading_wants(&request->filter, fields))
		return true;
	reading_add(reading, event_desc, fields);
	return reading->count < request->limit &&
		   MemoryContextMemAllocated(reading->context, false) <= READING_BYTES;
}

/*
 * Reads into an empty reading.  False when the log has no index to read along.
 */
static bool
reading_fill(Reading *reading, PmLog *log, const ReadingRequest *request)
{
	TupleDesc event_desc = lookup_rowtype_tupdesc(event_type(), -1);
	LogIndexScan scan;
	EventFields fields;
	bool has_index = log_index_begin_events(&scan, log, request->after, request->up_to);
	bool more = has_index;

	while (more && reading->looked_at < request->rows && log_index_next_event(&scan, &fields))
		more = reading_take(reading, request, event_desc, &fields);
	if (has_index)
		log_index_end(&scan);
	ReleaseTupleDesc(event_desc);
	/* Without a limit in the way, it is known that there is nothing more up to there. */
	reading->up_to = !more || reading->looked_at == request->rows ? reading->last_position :
																	request->up_to;
	return has_index;
}

/*
 * Keeps a reading in place of the one that was kept for the same key.  A batch
 * may still use the events of that one: it lives until the next batch begins.
 */
static Reading *
reading_keep(const Reading *fresh)
{
	bool found;
	Reading *reading = hash_search(readings, &fresh->key, HASH_ENTER, &found);

	if (found)
	{
		MemoryContextSetParent(reading->context, passing_context);
		kept -= reading->bytes;
	}
	*reading = *fresh;
	MemoryContextSetParent(reading->context, readings_context);
	kept += reading->bytes;
	return reading;
}

/*
 * Reads in place of what was kept for the same key.  A batch that uses that may
 * go on using its events until it ends.  The caller has computed the mark, and
 * checked the owner's rights after that; the scan takes a younger snapshot.
 * Without an index, as after an error, what was kept stays as it was.
 */
Reading *
reading_read(PmLog *log, const ReadingRequest *request)
{
	Reading reading;

	memset(&reading, 0, sizeof(reading));
	reading.key = request->key;
	reading.read_at = GetCurrentTimestamp();
	reading.version = request->version;
	reading.after = request->after;
	/* Until it is complete it belongs to this batch, which may fail here. */
	reading.context = AllocSetContextCreate(passing_context, "pm reading", ALLOCSET_DEFAULT_SIZES);
	if (!reading_fill(&reading, log, request))
		return NULL;
	reading.bytes = MemoryContextMemAllocated(reading.context, false);
	return reading_keep(&reading);
}
