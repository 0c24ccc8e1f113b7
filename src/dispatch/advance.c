/*
 * advance.c
 *		pm.advance: a consumer has handled what it has fetched.
 *
 * The cursors move, and timers and parked events are removed, in the consumer's own
 * transaction: together with the effects that it has written there.
 */
#include "pm.h"

#include "utils/builtins.h"

#include "base/argument.h"
#include "dispatch/advance_journal.h"
#include "log/log_open.h"
#include "manager/consumer.h"
#include "manager/cursor.h"
#include "manager/follow.h"
#include "manager/lane.h"
#include "manager/lease_row.h"
#include "manager/park_queue.h"
#include "manager/timer.h"
#include "shmem/stat.h"

PG_FUNCTION_INFO_V1(pm_advance);

/* A call, and what it advances. */
typedef struct Advance
{
	ConsumerCall consumer;
	int lane;
	Lease lease;
	LaneState state;
	List *cursors;
	int handled; /* events and timers */
} Advance;

/* ---------- logs ---------- */

static void
advance_refuse(const Advance *advance, const char *log, int64 position)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 log != NULL ? errmsg("consumer \"%s\" has not fetched log \"%s\" up to position %lld",
								  advance->consumer.consumer, log, (long long) position) :
						   errmsg("consumer \"%s\" has not fetched the timer with number %lld",
								  advance->consumer.consumer, (long long) position),
			 errhint("Advance to the position of an event that it has fetched.")));
}

/*
 * How many numbers are at or below a position?
 */
static int
advance_count(const int64 *numbers, int count, int64 position)
{
	int passed = 0;

	for (int i = 0; i < count; i++)
		passed += numbers[i] <= position ? 1 : 0;
	return passed;
}

/*
 * Moves the cursor in a log up to a position, which has been fetched.
 */
static void
advance_log(Advance *advance, Cursor *cursor, Fetched *fetched, int64 position)
{
	ProcessManager *pm = advance->consumer.pm;
	int handled = advance_count(fetched->events, fetched->nevents, position);

	/* If nothing is left, the rest of what was read is not for the consumer. */
	if (handled == fetched->nevents)
		position = fetched->up_to;
	advance->handled += handled;
	fetched->nevents = lease_keep_after(fetched->events, fetched->nevents, position);
	if (position <= cursor->position)
		return;
	cursor_move(pm, advance->lane, cursor, position, handled);
	lease_forget_up_to(&advance->lease, cursor->log, position);
	cursor->position = position;
}

/* ---------- timers and parked events ---------- */

/*
 * Removes the timers that were fetched, up to the one with this id.
 */
static void
advance_timers(Advance *advance, int64 last)
{
	Lease *lease = &advance->lease;
	int taken = 0;

	while (taken < lease->ntimers)
	{
		int64 id = lease->timers[taken++];

		/* The consumer may have canceled or replaced it. */
		(void) timer_take(id);
		if (id == last)
			break;
	}
	lease->ntimers -= taken;
	advance->handled += taken;
	memmove(lease->timers, lease->timers + taken, sizeof(int64) * lease->ntimers);
}

static void
advance_parked_log(Advance *advance, const char *log)
{
	ListCell *lc;

	advance->handled++;
	foreach(lc, advance->cursors)
		if (log != NULL && strcmp(((Cursor *) lfirst(lc))->log, log) == 0)
			((Cursor *) lfirst(lc))->parked++;
}

/*
 * Takes the first parked events that were fetched out of their queue, up to the one with
 * this id.
 */
static void
advance_parked(Advance *advance, int64 last)
{
	ProcessManager *pm = advance->consumer.pm;
	Lease *lease = &advance->lease;
	char *key = NULL;
	int taken = 0;
	bool done = lease->nparked == 0;
	ListCell *lc;

	while (!done)
	{
		int64 id = lease->parked[taken++];
		Parked *parked = park_get(pm, id);

		done = id == last || taken == lease->nparked;
		/* It may have been discarded. */
		if (parked == NULL || !park_take(id))
			continue;
		key = parked->key;
		advance_parked_log(advance, parked->log);
	}
	if (key != NULL)
		park_promote(pm, advance->lane, key, lease->parked[taken - 1]);
	lease->nparked -= taken;
	memmove(lease->parked, lease->parked + taken, sizeof(int64) * lease->nparked);
	foreach(lc, advance->cursors)
		if (((Cursor *) lfirst(lc))->parked > 0)
			cursor_count(pm, advance->lane, lfirst(lc));
}

/*
 * The last parked event that was fetched of a log, up to a position; 0 if there is none.
 */
static int64
advance_last_parked(const Advance *advance, const char *log, int64 position)
{
	int64 last = 0;

	for (int i = 0; i < advance->lease.nparked; i++)
	{
		Parked *parked = park_get(advance->consumer.pm, advance->lease.parked[i]);

		if (parked != NULL && parked->log != NULL && strcmp(parked->log, log) == 0 &&
			parked->position <= position)
			last = parked->id;
	}
	return last;
}

/* ---------- what is named ---------- */

static Cursor *
advance_cursor(const Advance *advance, const char *log)
{
	ListCell *lc;

	foreach(lc, advance->cursors)
		if (strcmp(((Cursor *) lfirst(lc))->log, log) == 0)
			return lfirst(lc);
	return NULL;
}

/*
 * One log, up to a position or (NULL) as far as it was fetched.
 */
static void
advance_one(Advance *advance, char *given, const int64 *up_to)
{
	char *log = follow_name(advance->consumer.pm, given);
	Cursor *cursor = advance_cursor(advance, log);
	Fetched *fetched = lease_fetched(&advance->lease, log, true);
	int64 last;

	if (cursor == NULL)
		return;
	if (up_to != NULL && *up_to > Max(fetched->up_to, cursor->position))
	{
		advance_refuse(advance, log, *up_to);
		return;
	}
	last = advance_last_parked(advance, log, up_to != NULL ? *up_to : PG_INT64_MAX);
	if (last != 0)
		advance_parked(advance, last);
	else if (fetched->up_to > 0)
		advance_log(advance, cursor, fetched, up_to != NULL ? *up_to : fetched->up_to);
}

/*
 * All that was fetched.
 */
static void
advance_all(Advance *advance)
{
	ListCell *lc;

	foreach(lc, advance->cursors)
	{
		Cursor *cursor = lfirst(lc);
		Fetched *fetched = lease_fetched(&advance->lease, cursor->log, false);

		if (fetched != NULL && fetched->up_to > 0)
			advance_log(advance, cursor, fetched, fetched->up_to);
	}
	advance_timers(advance, 0);
	advance_parked(advance, 0);
}

/*
 * The timers up to one that is named by its number.
 */
static void
advance_numbered(Advance *advance, int64 number)
{
	Lease *lease = &advance->lease;

	if (lease_has(lease->timers, lease->ntimers, number))
		advance_timers(advance, number);
	else if (lease_has(lease->parked, lease->nparked, number))
		advance_parked(advance, number);
	else
		advance_refuse(advance, NULL, number);
}

/* ---------- the function ---------- */

/*
 * Is the event that had failed, and that was tried again in its place, handled now?
 */
static bool
advance_cures(const Advance *advance)
{
	const LaneState *state = &advance->state;
	Cursor *cursor;

	if (state->status != LANE_RETRYING && state->status != LANE_WAITING)
		return false;
	if (state->log == NULL)
		return state->position == 0 || timer_get(advance->consumer.pm, state->position) == NULL;
	cursor = advance_cursor(advance, state->log);
	return cursor == NULL || cursor->position >= state->position;
}

static void
advance_stat(const Advance *advance)
{
	const ProcessManager *pm = advance->consumer.pm;
	StatCounts counts = {.events = advance->handled, .batches = 1};

	if (advance->handled > 0)
		stat_count(pm->name, advance->lane, pm->owner, &counts);
}

static void
advance_finish(Advance *advance)
{
	const char *name = advance->consumer.pm->name;

	lease_write(&advance->lease);
	advance_stat(advance);
	if (advance->handled > 0 && advance->state.in_a_row > 0 && advance->state.status != LANE_HALTED)
		lane_in_a_row(name, advance->lane, 0, false);
	if (advance_cures(advance))
		lane_clear(name, advance->lane);
}

/*
 * pm.advance(name, consumer, lane, log, up_to)
 */
Datum
pm_advance(PG_FUNCTION_ARGS)
{
	Advance advance = {0};
	AdvanceJournal journal;
	int64 up_to = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4);

	consumer_begin(&advance.consumer, fcinfo, "pm.advance", 0, 1);
	argument_not_null(fcinfo, 2, "lane");
	advance.lane = PG_GETARG_INT32(2);
	consumer_lock(&advance.consumer, advance.lane, &advance.lease);
	lane_state(advance.consumer.pm, advance.lane, &advance.state);
	advance.cursors = cursor_list(advance.consumer.pm, advance.lane);
	advance_journal_begin(&journal, &advance.lease, &advance.state);
	if (!PG_ARGISNULL(3))
		advance_one(&advance, text_to_cstring(PG_GETARG_TEXT_PP(3)),
					PG_ARGISNULL(4) ? NULL : &up_to);
	else if (!PG_ARGISNULL(4))
		advance_numbered(&advance, up_to);
	else
		advance_all(&advance);
	advance_journal_end(&journal);
	advance_finish(&advance);
	PG_RETURN_VOID();
}
