/*
 * contention.c
 *		What a unit does after a conflict with another session over a lock or a stream.
 *
 * A batch holds its locks until it commits.  Two batches that write the same streams
 * in different orders have a deadlock, and one of them is undone.  If both ran again at
 * once, they would conflict again.  Three things prevent that.  The batch is cut
 * (isolate.c).  The unit waits for a moment of random length.  And lanes of one process
 * manager, which follow the same logs and so are likely to write the same streams, run
 * one after another for some time: then they can have large batches, which are faster
 * than small ones at the same time.
 */
#include "pm.h"

#include "common/pg_prng.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "shmem/slot_turn.h"
#include "worker/contention.h"

/*
 * How long a unit waits after a deadlock and the like, ms; multiplied by the conflicts
 * in a row.
 */
#define CONTENTION_PAUSE_MIN 5
#define CONTENTION_PAUSE_MAX 20

/*
 * The longest wait after a lost race for a stream, which the other session has left
 * already, ms.
 */
#define CONTENTION_RACE_MAX 20

/*
 * How long a lane that runs alone keeps its turn while it has more to do, in ms.  It takes
 * time until another one runs, especially if the processors are busy.
 */
#define CONTENTION_TURN 500

/*
 * A wait for a lock that lasts this long, ms, may be a deadlock.  Lanes have deadlocks
 * with each other more often than with applications.
 */
#define CONTENTION_CHECK	   "100ms"
#define CONTENTION_CHECK_LANES "20ms"

/* A lane that waits for its turn is woken; if not, it looks by itself after this time, in ms. */
#define CONTENTION_NAP_MIN 20
#define CONTENTION_NAP_MAX 40

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

/*
 * A batch that has lost a deadlock must not run again at once.  It would take its
 * locks again before the other session, which has waited for them, is awake, and
 * lose again.  The length of the pause is random, so that two dispatchers that had
 * a deadlock with each other do not have the next one.
 */
void
contention_met(const Contention *contention, const ProcessManager *pm, int sqlerrcode,
			   TimestampTz *not_before)
{
	int count = Max(contention->in_a_row, 1);

	if (pm->lanes > 1)
		slot_turns_met(pm->id);
	if (sqlerrcode == ERRCODE_PM_VERSION_CONFLICT)
		*not_before = contention_after(0, Min(count, CONTENTION_RACE_MAX));
	else
		*not_before = contention_after(CONTENTION_PAUSE_MIN * count, CONTENTION_PAUSE_MAX * count);
}

/* ---------- turns ---------- */

bool
contention_alone(const ProcessManager *pm)
{
	return pm->lanes > 1 && slot_turns(pm->id);
}

/*
 * A unit whose nap has ended without a wake-up tries even if the turn is another one's
 * (slot_turn.c says why).
 */
bool
contention_take(int manager, bool napped)
{
	if (!napped && slot_turn_taken(manager))
		return false;
	slot_turn_take(manager);
	return true;
}

void
contention_wait(int manager, TimestampTz *not_before)
{
	slot_turn_await(manager);
	*not_before = contention_after(CONTENTION_NAP_MIN, CONTENTION_NAP_MAX);
}

bool
contention_ran(Contention *contention, int manager, TimestampTz began, bool more)
{
	TimestampTz now = GetCurrentTimestamp();

	if (contention->turn_began == 0)
		contention->turn_began = began;
	if (more && !TimestampDifferenceExceeds(contention->turn_began, now, CONTENTION_TURN))
	{
		slot_turn_take(manager);
		return false;
	}
	contention->turn_began = 0;
	return slot_turn_pass(manager);
}
