/*
 * contention.c
 *		What a unit does after it has met another session at a lock or a stream.
 *
 * A batch holds its locks until it commits.  Two batches that write the same streams
 * in different orders have a deadlock, and one of them is undone.  If both ran again at
 * once, they would meet again.  Three things prevent that.  The batch is cut
 * (isolate.c).  The unit waits for a moment of random length.  And lanes of one process
 * manager, which follow the same logs and so are likely to write the same streams, run
 * one after another for some time: then they can have large batches, which are faster
 * than small ones at the same time.
 */
#include "pm.h"

#include "common/pg_prng.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "worker/contention.h"

/* How long a unit waits after a deadlock and the like, ms; multiplied by their number. */
#define CONTENTION_PAUSE_MIN 5
#define CONTENTION_PAUSE_MAX 20

/* How long at most after a lost race for a stream, which the other session has left, ms. */
#define CONTENTION_RACE_MAX 20

/* For how long lanes that have met run one after another, ms; doubled when they meet again. */
#define CONTENTION_ALONE_MIN 3000
#define CONTENTION_ALONE_MAX 60000

/* After this many batches, a lane that runs alone pauses, so that another one can begin. */
#define CONTENTION_TURN 8

/*
 * A wait for a lock that lasts this long, ms, may be a deadlock.  Lanes have deadlocks
 * with each other more often than with applications.
 */
#define CONTENTION_CHECK	   "100ms"
#define CONTENTION_CHECK_LANES "20ms"

/* The time between two attempts to run alone, and the pause, ms. */
#define CONTENTION_NAP_MIN 1
#define CONTENTION_NAP_MAX 4

/*
 * A time between "from" and "to" ms from now.
 */
static TimestampTz
contention_after(int from, int to)
{
	/* In microseconds, so that two lanes are unlikely to try at the same time. */
	return GetCurrentTimestamp() + (int64) pg_prng_uint64_range(&pg_global_prng_state,
																from * INT64CONST(1000),
																to * INT64CONST(1000));
}

/*
 * In a deadlock with an application, the dispatcher should be cancelled, because it
 * tries again.  So its check comes early.
 */
void
contention_begin(int lanes)
{
	static int last_lanes = 0;

	if (last_lanes != 0 && (last_lanes > 1) == (lanes > 1))
		return;
	last_lanes = lanes;
	SetConfigOption("deadlock_timeout", lanes > 1 ? CONTENTION_CHECK_LANES : CONTENTION_CHECK,
					PGC_SUSET, PGC_S_OVERRIDE);
}

bool
contention_alone(const Contention *contention)
{
	return contention->alone_until != 0 && GetCurrentTimestamp() < contention->alone_until;
}

/*
 * Lengthens the time for which the unit runs alone.
 */
static void
contention_extend(Contention *contention)
{
	TimestampTz now = GetCurrentTimestamp();
	bool again = contention->alone_until != 0 &&
				 !TimestampDifferenceExceeds(contention->alone_until, now, contention->alone_for);

	contention->alone_for = again ? Min(contention->alone_for * 2, CONTENTION_ALONE_MAX) :
									CONTENTION_ALONE_MIN;
	contention->alone_for = Max(contention->alone_for, CONTENTION_ALONE_MIN);
	contention->alone_until = TimestampTzPlusMilliseconds(now, contention->alone_for);
}

/*
 * A batch that has lost a deadlock must not run again at once.  It would take its
 * locks again before the other session, which has waited for them, is awake, and
 * lose again.  The length of the pause is random, so that two dispatchers that had
 * a deadlock with each other do not have the next one.
 */
void
contention_met(Contention *contention, int sqlerrcode, TimestampTz *not_before)
{
	int count = Max(contention->in_a_row, 1);

	contention_extend(contention);
	if (sqlerrcode == ERRCODE_PM_VERSION_CONFLICT)
		*not_before = contention_after(0, Min(count, CONTENTION_RACE_MAX));
	else
		*not_before = contention_after(CONTENTION_PAUSE_MIN * count, CONTENTION_PAUSE_MAX * count);
}

/*
 * If the other lanes have met, this one would meet them next.
 */
void
contention_busy(Contention *contention, TimestampTz *not_before)
{
	if (!contention_alone(contention))
		contention->alone_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
															  CONTENTION_ALONE_MIN);
	*not_before = contention_after(CONTENTION_NAP_MIN, CONTENTION_NAP_MAX);
}

void
contention_ran(Contention *contention, TimestampTz *not_before)
{
	if (++contention->ran < CONTENTION_TURN)
		return;
	contention->ran = 0;
	*not_before = contention_after(CONTENTION_NAP_MAX, 2 * CONTENTION_NAP_MAX);
}
