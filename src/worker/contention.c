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
 * than small ones at the same time.  That does not help against conflicts with
 * applications, so lanes take turns only if they have conflicted with each other.
 */
#include "pm.h"

#include "common/pg_prng.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "log/append_write.h"
#include "shmem/slot_batch.h"
#include "shmem/slot_turn.h"
#include "worker/contention.h"

/*
 * How long a unit waits after a deadlock or the like, ms; multiplied by the number of
 * conflicts in a row.
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
#define CONTENTION_CHECK_LANES "5ms"

/*
 * A dispatcher that was busy with other units asks for its turn when it has waited this long, in
 * ms.  One that sleeps is given its turn, and asks only if that has not happened after this
 * many turns of each lane.
 */
#define CONTENTION_ASK_BUSY	 1000
#define CONTENTION_ASK_TURNS 2

/*
 * It then waits for the lock for half as long as it has waited so far, at most this long, in ms:
 * its other units wait meanwhile.
 */
#define CONTENTION_ASK_MAX 1000

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
 * In a deadlock with an application, the dispatcher should be canceled, because it
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

	/*
	 * log_lock_waits logs each wait that is longer than this.  With lanes there could be hundreds
	 * of lines a second.  pm.status says what a handler waits for.
	 */
	if (lanes > 1)
		SetConfigOption("log_lock_waits", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Does a text name the pid of a dispatcher that runs another lane?  PostgreSQL's description of
 * a deadlock, which may be translated, has the pids of those that take part in it.
 */
static bool
contention_names_lane(const char *text)
{
	while (*text != '\0')
	{
		size_t digits = strspn(text, "0123456789");

		/* A longer number is not a pid. */
		if (digits > 0 && digits < 10 && slot_batch_is_run_by(atoi(text)))
			return true;
		text += Max(digits, 1);
	}
	return false;
}

/*
 * Was it a conflict with another lane of the same process manager?  Where that is not known,
 * it may have been one if such a lane runs.
 */
static bool
contention_is_of_lanes(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED && error->detail != NULL)
		return contention_names_lane(error->detail);
	if (error->sqlerrcode == ERRCODE_PM_VERSION_CONFLICT && TransactionIdIsValid(append_lost_to()))
		return slot_batch_was(append_lost_to());
	return slot_batch_others();
}

/*
 * A batch that has lost a deadlock must not run again at once.  It would take its
 * locks again before the other session, which has waited for them, is awake, and
 * lose again.  The length of the pause is random, so that two dispatchers that had
 * a deadlock with each other do not have the next one.
 */
void
contention_met(const Contention *contention, const ProcessManager *pm, const ErrorData *error,
			   TimestampTz *not_before)
{
	int count = Max(contention->in_a_row, 1);

	/* A lane that has run alone has not met another one. */
	if (pm->lanes > 1 && !contention->alone && contention_is_of_lanes(error))
		slot_turns_met(pm->id);
	if (error->sqlerrcode == ERRCODE_PM_VERSION_CONFLICT)
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
 * Until when to wait for the lock of the lanes: 0 if this unit has not waited for a long
 * time.
 */
static TimestampTz
contention_ask(const Contention *contention, const ProcessManager *pm, bool busy, TimestampTz now)
{
	long after = busy ? CONTENTION_ASK_BUSY : CONTENTION_ASK_TURNS * CONTENTION_TURN * pm->lanes;
	long waited = contention->waits_since == 0 ?
					  0 :
					  TimestampDifferenceMilliseconds(contention->waits_since, now);

	if (waited < after)
		return 0;
	return TimestampTzPlusMilliseconds(now, Min(waited / 2, CONTENTION_ASK_MAX));
}

/*
 * The dispatcher that runs lets in those that ask, whether its own turn is over or not.
 */
bool
contention_take(const Contention *contention, const ProcessManager *pm, bool busy,
				TimestampTz *until)
{
	*until = contention_ask(contention, pm, busy, GetCurrentTimestamp());
	if (*until != 0)
		slot_turn_ask(pm->id, *until);
	else if (slot_turn_asked(pm->id) || slot_turn_taken(pm->id))
		return false;
	slot_turn_take(pm->id);
	return true;
}

void
contention_taken(void)
{
	slot_turn_asked_enough();
}

void
contention_wait(Contention *contention, int manager, TimestampTz *not_before)
{
	if (contention->waits_since == 0)
		contention->waits_since = GetCurrentTimestamp();
	contention->turn_began = 0;
	slot_turn_await(manager, contention->waits_since);
	*not_before = contention_after(CONTENTION_NAP_MIN, CONTENTION_NAP_MAX);
}

bool
contention_ran(Contention *contention, int manager, TimestampTz began, bool more)
{
	TimestampTz now = GetCurrentTimestamp();

	if (contention->turn_began == 0)
		contention->turn_began = began;
	if (more && !slot_turn_asked(manager) &&
		!TimestampDifferenceExceeds(contention->turn_began, now, CONTENTION_TURN))
	{
		slot_turn_take(manager);
		return false;
	}
	contention->turn_began = 0;
	return slot_turn_pass(manager);
}
