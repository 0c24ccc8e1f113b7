/*
 * fetch_wait.c
 *		Waits, in pm.fetch, until there is something to fetch.
 *
 * While it waits, the session holds the snapshot of its statement, but no lock that a
 * change of a table or of a process manager needs, and no transaction ID: each attempt is
 * a subtransaction, which is undone if there was nothing.  The session is woken whenever
 * a writer of its logs ends (shmem/slot_fetch.c).  The end of a prepared transaction does
 * not wake it, so while one holds back the mark, it polls.
 */
#include "pm.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/argument.h"
#include "base/guc.h"
#include "base/within.h"
#include "dispatch/fetch_wait.h"
#include "log/log_open.h"
#include "log/sequence.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/lease_row.h"
#include "shmem/slot.h"
#include "shmem/slot_fetch.h"

/*
 * PostgreSQL's check whether the client is still connected.  It is declared here because its
 * header includes those of GSSAPI, which need not be installed.
 */
extern bool pq_check_connection(void);

#define FETCH_WAIT_MAX	 60000 /* ms */
#define FETCH_WAIT_ALONE 100   /* without shared memory, where nothing wakes this session, ms */

/* A log that is waited for. */
typedef struct FetchLog
{
	Oid relid; /* InvalidOid: it is locked, or gone */
	Oid seqid;
	LogRef slot;
	int64 last; /* position that was drawn before the last attempt; 0: not known */
} FetchLog;

typedef struct FetchWait
{
	FetchCall *call;
	int count;
	FetchLog *logs;
	bool polls;		 /* something may appear for which nothing wakes this session */
	TimestampTz due; /* when something may become due */
} FetchWait;

long
fetch_wait_argument(FunctionCallInfo fcinfo, int arg)
{
	Interval *wait;

	argument_not_null(fcinfo, arg, "wait");
	wait = PG_GETARG_INTERVAL_P(arg);
	if (wait->month != 0 || wait->day != 0 || wait->time < 0 ||
		wait->time > FETCH_WAIT_MAX * INT64CONST(1000))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("wait must be between 0 and %d s", FETCH_WAIT_MAX / 1000)));
	if (wait->time > 0 && TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pm.fetch cannot wait in a transaction that has written"),
				 errdetail("What it has written, such as an advance, would have to wait as well."),
				 errhint("Commit first, or omit wait.")));
	return (long) (wait->time / 1000);
}

/* ---------- what there may be ---------- */

/*
 * Reads the last position that was drawn; 0 if that is not known now.
 */
static int64
fetch_wait_last(const FetchLog *log)
{
	int64 last;

	return sequence_look(log->seqid, &last) ? last : 0;
}

/*
 * Asks to be woken, and reads the sequences: in this order, before each attempt.
 */
static void
fetch_wait_ask(FetchWait *wait)
{
	ProcessManager *pm = wait->call->consumer->pm;

	wait->polls = !slot_preloaded();
	if (wait->count != list_length(pm->logs))
	{
		wait->count = list_length(pm->logs);
		wait->logs = palloc0(sizeof(FetchLog) * Max(wait->count, 1));
	}
	for (int i = 0; i < wait->count; i++)
	{
		FetchLog *log = &wait->logs[i];
		bool locked;
		PmLog *found = log_get_nowait(list_nth(pm->logs, i), &locked);

		log->relid = found != NULL ? found->relid : InvalidOid;
		log->seqid = found != NULL ? found->seqid : InvalidOid;
		if (found != NULL && slot_preloaded())
			slot_fetch_ask(pm->id, log->relid, &log->slot);
		wait->polls |= found == NULL;
		log->last = fetch_wait_last(log);
	}
}

/*
 * Finds out, after an attempt, what may come without waking this session: what becomes due,
 * and positions that are not read yet because a writer holds back the mark.
 */
static void
fetch_wait_look(FetchWait *wait)
{
	ConsumerCall *consumer = wait->call->consumer;

	wait->due = DT_NOEND;
	for (int lane = 0; lane < consumer->pm->lanes; lane++)
	{
		LaneState state;
		Lease lease;
		ListCell *lc;

		lane_state(consumer->pm, lane, &state);
		lease_read(consumer->pm, lane, &lease);
		if (state.status == LANE_RETRYING)
			wait->due = Min(wait->due, state.retry_at);
		if (lease_is_held(&lease) && !lease_is_of(&lease, consumer->consumer))
		{
			wait->due = Min(wait->due, lease.until);
			continue;
		}
		wait->due = Min(wait->due, Min(state.timer_due, state.parked_due));
		foreach(lc, cursor_list(consumer->pm, lane))
		{
			Cursor *cursor = lfirst(lc);

			wait->polls |= cursor->which >= 0 && cursor->which < wait->count &&
						   wait->logs[cursor->which].last > cursor->position;
		}
	}
}

/* ---------- waiting ---------- */

/*
 * Sleeps for some time.  True if this session was woken.
 */
static bool
fetch_wait_nap(FetchWait *wait, long ms)
{
	static uint32 event;
	uint32 info = compat_wait_event(&event, "PmFetch");

	if (slot_preloaded())
		return slot_fetch_wait(wait->call->consumer->pm->id, ms, info);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(ms, FETCH_WAIT_ALONE), info);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/*
 * A session whose client has disconnected must not fetch what others wait for.  PostgreSQL
 * itself would notice the disconnection only when it sends the result.
 */
static void
fetch_wait_check_client(void)
{
	if (MyProcPort == NULL || whereToSendOutput != DestRemote || pq_check_connection())
		return;
	ClientConnectionLost = true;
	InterruptPending = true;
	CHECK_FOR_INTERRUPTS();
}

/*
 * Sleeps until there may be something, or the time is up.  False if the time is up.
 */
static bool
fetch_wait_sleep(FetchWait *wait, TimestampTz until)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz next = Min(until, wait->due);
		bool woken;
		long nap;

		if (now >= until)
			return false;
		/* What is due in the past was due for the last attempt too, which found nothing. */
		if (next <= now)
			next = TimestampTzPlusMilliseconds(now, guc_poll_interval);
		nap = TimestampDifferenceMilliseconds(now, next);
		woken = fetch_wait_nap(wait, wait->polls ? Min(nap, guc_poll_interval) : nap);
		fetch_wait_check_client();
		if (woken || wait->polls || GetCurrentTimestamp() >= wait->due)
			return true;
	}
}

/*
 * Makes an attempt in a subtransaction, which keeps its locks only if it has found
 * something.
 */
static FetchOutcome
fetch_wait_attempt(FetchCall *call, FetchOutcome (*attempt)(FetchCall *call))
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	FetchOutcome volatile outcome = FETCH_NOTHING;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	/*
	 * The subtransaction must end here if there is an error.  Outside of a transaction
	 * block, the server would abort only the subtransaction, and the session would be left
	 * in a transaction that has failed.
	 */
	PG_TRY();
	{
		outcome = attempt(call);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (outcome == FETCH_NOTHING)
		RollbackAndReleaseCurrentSubTransaction();
	else
		ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
	return outcome;
}

void
fetch_wait(FetchCall *call, long ms, FetchOutcome (*attempt)(FetchCall *call))
{
	FetchWait wait = {.call = call};
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	for (;;)
	{
		uint32 wakes = slot_preloaded() ? slot_fetch_wakes(call->consumer->pm->id) : 0;

		CHECK_FOR_INTERRUPTS();
		fetch_wait_ask(&wait);
		if (fetch_wait_attempt(call, attempt) != FETCH_NOTHING)
			break;
		fetch_wait_look(&wait);
		if (GetCurrentTimestamp() >= until ||
			((!slot_preloaded() || slot_fetch_prepare(call->consumer->pm->id, wakes)) &&
			 !fetch_wait_sleep(&wait, until)))
			break;
		AcceptInvalidationMessages();
		/* A role may have been taken from the consumer meanwhile, too. */
		if (!consumer_reload(call->consumer))
			consumer_require(call->consumer->pm);
	}
	ConditionVariableCancelSleep();
}
