/*
 * fetch.c
 *		pm.fetch: gives a consumer the next events of one lane.
 *
 * manager/consumer.c has an overview.  A call serves one lane: one that the consumer
 * holds, else one that is free, the least recently served first.  Lanes that other
 * sessions have locked are left out, so that a call waits for nobody.
 */
#include "pm.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "dispatch/fetch_lane.h"
#include "dispatch/fetch_wait.h"
#include "manager/lease_row.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_fetch);

/* A lane, as a look without a lock has found it. */
typedef struct FetchCandidate
{
	int lane;
	bool mine;
	TimestampTz served_at;
} FetchCandidate;

static int
fetch_max_count(FunctionCallInfo fcinfo)
{
	int count;

	argument_not_null(fcinfo, 2, "max_count");
	count = PG_GETARG_INT32(2);
	if (count < 1 || count > FETCH_MAX_COUNT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_count must be between 1 and %d", FETCH_MAX_COUNT)));
	return count;
}

/* ---------- lanes ---------- */

static int
fetch_compare(const ListCell *a, const ListCell *b)
{
	const FetchCandidate *one = lfirst(a);
	const FetchCandidate *other = lfirst(b);

	if (one->mine != other->mine)
		return one->mine ? -1 : 1;
	if (one->served_at != other->served_at)
		return one->served_at < other->served_at ? -1 : 1;
	return one->lane - other->lane;
}

/*
 * The lanes that the consumer may be served from, in the order in which to try them.
 */
static List *
fetch_candidates(const ConsumerCall *consumer)
{
	List *candidates = NIL;

	for (int lane = 0; lane < consumer->pm->lanes; lane++)
	{
		FetchCandidate *candidate;
		Lease lease;
		bool held;
		bool mine;

		lease_read(consumer->pm, lane, &lease);
		held = lease_is_held(&lease);
		mine = lease_is_of(&lease, consumer->consumer);
		if (held && !mine)
			continue;
		candidate = palloc(sizeof(FetchCandidate));
		candidate->lane = lane;
		candidate->mine = held;
		candidate->served_at = lease.served_at;
		candidates = lappend(candidates, candidate);
	}
	list_sort(candidates, fetch_compare);
	return candidates;
}

/*
 * Tries all lanes once.
 */
static FetchOutcome
fetch_any(FetchCall *call)
{
	FetchOutcome outcome = FETCH_NOTHING;
	ListCell *lc;

	foreach(lc, fetch_candidates(call->consumer))
	{
		FetchOutcome one = fetch_lane(call, ((FetchCandidate *) lfirst(lc))->lane);

		outcome = Max(outcome, one);
		if (outcome == FETCH_ROWS)
			break;
	}
	return outcome;
}

/*
 * The same, again if a change of the registration has been seen when a lane was locked.
 */
static FetchOutcome
fetch_once(FetchCall *call)
{
	FetchOutcome outcome;

	while ((outcome = fetch_any(call)) != FETCH_ROWS && consumer_reload(call->consumer))
		CHECK_FOR_INTERRUPTS();
	return outcome;
}

/*
 * pm.fetch(name, consumer, max_count, wait)
 */
Datum
pm_fetch(PG_FUNCTION_ARGS)
{
	ConsumerCall consumer;
	FetchCall call = {.consumer = &consumer, .fcinfo = fcinfo};
	long wait;

	consumer_begin(&consumer, fcinfo, "pm.fetch", 0, 1);
	call.max_count = fetch_max_count(fcinfo);
	wait = fetch_wait_argument(fcinfo, 3);
	InitMaterializedSRF(fcinfo, 0);
	if (wait > 0)
		fetch_wait(&call, wait, fetch_once);
	else
		(void) fetch_once(&call);
	return (Datum) 0;
}
