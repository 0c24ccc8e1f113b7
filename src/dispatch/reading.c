/*
 * reading.c
 *		Reads events from a log, and keeps them for the next batches.
 *
 * A dispatcher runs many units one after the other.  Units that follow the same
 * log, and are at the same position, need the same events, and a unit that
 * follows many logs needs only a few events of each in one batch.  So what was
 * read, a reading, is kept for a short time in the memory of this process.
 *
 * This is safe because only events at or below the mark are kept: nothing can
 * appear there any more, and events are not changed.  (If an event is deleted or
 * updated nevertheless, the batch handles it as if that had happened later.) A
 * batch that uses a kept reading has checked the owner's rights again, and
 * computes the mark again before it reads more.
 *
 * pm.catch_up keeps nothing when it returns, because it reads what its own
 * transaction has written, and that can be rolled back.
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
	/* The batch before could use the kept readings up to this point, so free them only now. */
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
	/* If the clock was set back, its age is unknown. */
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
 * Adds a row as an event, without an intermediate copy.
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
 * Takes one row: records how far the log has been read, and adds the event if
 * it is wanted.  False when the reading is full.
 */
static bool
reading_take(Reading *reading, const ReadingRequest *request, TupleDesc event_desc,
			 EventFields *fields, bool passed)
{
	reading->looked_at++;
	reading->last_position = DatumGetInt64(fields->values[EVENT_POSITION - 1]);
	/* A row of the table that is not an event of this log. */
	if (!passed)
		return true;
	/* The table's owner may have allowed NULL: such an event comes before all others. */
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
 * Reads into an empty reading.  False, with *trouble set, if that is not possible.
 */
static bool
reading_fill(Reading *reading, PmLog *log, const ReadingRequest *request, LogTrouble *trouble)
{
	TupleDesc event_desc = lookup_rowtype_tupdesc(event_type(), -1);
	LogIndexScan scan;
	EventFields fields;
	bool more = log_index_begin_events(&scan, log, request->after, request->up_to, request->wait);

	if (!more)
	{
		log_trouble_no_index(trouble, log);
		ReleaseTupleDesc(event_desc);
		return false;
	}
	while (more && reading->looked_at < request->rows && log_index_next_event(&scan, &fields))
		more = reading_take(reading, request, event_desc, &fields, scan.passed);
	if (scan.error != NULL)
	{
		/* What precedes the row is handled first; then the next reading begins with it. */
		more = false;
		if (reading->looked_at == 0)
			log_trouble_row(trouble, log, log_index_position(&scan), scan.error);
	}
	if (log_index_locked(&scan))
	{
		/* The same holds for a partition that is locked. */
		more = false;
		if (reading->looked_at == 0)
			log_trouble_locked(trouble, log->name);
	}
	log_index_end(&scan);
	ReleaseTupleDesc(event_desc);
	if (trouble->message != NULL)
		return false;
	/* If no limit was reached, it is known that there is nothing more up to there. */
	reading->up_to = !more || reading->looked_at == request->rows ? reading->last_position :
																	request->up_to;
	return true;
}

/*
 * Keeps a reading in place of the one that was kept for the same key.  A batch
 * may still use the events of the old one, so that is freed when the next batch
 * begins.
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
 * Reads a reading that replaces the one that was kept for the same key.  A
 * batch may use the events of the old one until it ends.  The caller has
 * computed the mark, and checked the owner's rights after that; the scan takes
 * a newer snapshot.  If it cannot be read, or after an error, the old reading
 * stays.
 */
Reading *
reading_read(PmLog *log, const ReadingRequest *request, LogTrouble *trouble)
{
	Reading reading;

	memset(&reading, 0, sizeof(reading));
	reading.key = request->key;
	reading.read_at = GetCurrentTimestamp();
	reading.version = request->version;
	reading.after = request->after;
	/* Until the reading is complete it belongs to this batch, which may fail here. */
	reading.context = AllocSetContextCreate(passing_context, "pm reading", ALLOCSET_DEFAULT_SIZES);
	if (!reading_fill(&reading, log, request, trouble))
		return NULL;
	reading.bytes = MemoryContextMemAllocated(reading.context, false);
	return reading_keep(&reading);
}
