/*
 * role.c
 *		The roles that own process managers of a database, and which of them
 *		have work to do.
 *
 * Kept by the scheduler.  Work is only looked for where no dispatcher does
 * that: the cursors and the sequences are compared, no log is read.
 */
#include "pm.h"

#include "access/relation.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "log/highwater.h"
#include "log/log_open.h"
#include "log/sequence.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "worker/role.h"
#include "worker/worker.h"

HTAB *Roles;
int Nroles = 0;
Oid ARole = InvalidOid;
List *Managers = NIL;

static MemoryContext managers_context = NULL;
static uint64 managers_version = 0;
static uint64 managers_generation = 0;
static bool watching = false; /* logs of roles without a dispatcher */

void
role_begin(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Role);
	Roles = hash_create("pm roles", 16, &ctl, HASH_ELEM | HASH_BLOBS);
}

/*
 * Loads the registrations when they have changed.
 */
void
role_load(void)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	ListCell *lc;
	MemoryContext old;

	if (managers_version == registry_version() &&
		managers_generation == slot_registry_generation() && managers_context != NULL)
		return;
	managers_generation = slot_registry_generation();
	if (managers_context == NULL)
		managers_context = AllocSetContextCreate(TopMemoryContext, "pm managers",
												 ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(managers_context);
	Managers = NIL;
	managers_version = registry_version();
	old = MemoryContextSwitchTo(managers_context);
	Managers = registry_load(InvalidOid);
	MemoryContextSwitchTo(old);

	Nroles = 0;
	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		role->wanted = false;
		role->lanes = 0;
	}
	foreach(lc, Managers)
	{
		ProcessManager *pm = lfirst(lc);
		bool found;

		if (pm->paused || !pm->at_home || !OidIsValid(pm->owner))
			continue;
		role = hash_search(Roles, &pm->owner, HASH_ENTER, &found);
		if (!found)
		{
			memset((char *) role + sizeof(Oid), 0, sizeof(Role) - sizeof(Oid));
			role->backoff = ROLE_BACKOFF;
			role->gave_way = slot_database_gave_way();
		}
		Nroles += role->wanted ? 0 : 1;
		ARole = pm->owner;
		role->wanted = true;
		role->lanes = Max(role->lanes, pm->lanes);
	}
}

static void
role_look_at(RoleDue *due, TimestampTz at)
{
	due->at = Min(due->at, at);
}

/*
 * Nothing will wake us: look again after a while.
 */
static void
role_poll(RoleDue *due, long away)
{
	long ms = due->leaving ? Max(away, guc_poll_interval) : guc_poll_interval;

	role_look_at(due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms));
}

/*
 * Is it time?  If not, look again then, and now and then before, since the
 * clock can be set.
 */
static bool
role_timer_due(TimestampTz at, RoleDue *due)
{
	TimestampTz now = GetCurrentTimestamp();

	if (at <= now)
		return true;
	if (!TIMESTAMP_IS_NOEND(at) && !due->leaving)
		at = Min(at, TimestampTzPlusMilliseconds(now, guc_poll_interval));
	role_look_at(due, at);
	return false;
}

static bool
role_due(TimestampTz at, RoleDue *due)
{
	return lane_is_due(at, GetCurrentTimestamp()) || role_timer_due(at, due);
}

/*
 * Is all above a position held back by writers that are still open?  Then a
 * dispatcher would find nothing; one is worth it when they have ended, of which
 * not all ends tell.
 */
static bool
role_held(PmLog *log, int64 position, RoleDue *due)
{
	Highwater mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);

	if (mark.status == HIGHWATER_REWOUND ||
		(mark.status != HIGHWATER_UNKNOWN && mark.mark > position))
		return false;
	role_poll(due, ROLE_AWAY_HELD);
	return true;
}

/*
 * Has a unit something to do now?  Looks at the cursors and the sequences, not
 * at the logs.  *due is moved to when a retry is due.
 */
static bool
role_has_work(ProcessManager *pm, RoleDue *due)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;
		List *cursors;
		ListCell *lc;

		lane_state(pm, lane, &state);
		cursors = cursor_list(pm, lane);
		if (state.status == LANE_HALTED)
			continue;
		if (state.status == LANE_RETRYING || state.status == LANE_WAITING)
		{
			if (role_due(state.retry_at, due))
				return true;
			continue;
		}
		if (state.status == LANE_PARKING || role_due(state.parked_due, due) ||
			(pm->kind == HANDLER_INSTANCE && role_timer_due(state.timer_due, due)))
			return true;
		foreach(lc, cursors)
		{
			Cursor *cursor = lfirst(lc);
			bool locked;
			PmLog *log = log_get_nowait(cursor->log, &locked);
			LogRef slot = {NULL, 0};
			Relation sequence;
			int64 last;

			if (log == NULL || log->problem != NULL)
				continue;
			slot_log_interest(log->relid, &slot);
			watching |= slot.slot != NULL;
			sequence = sequence_open_nowait(log->seqid);
			if (sequence == NULL)
				continue;
			last = sequence_read(sequence);
			relation_close(sequence, AccessShareLock);
			if (last > cursor->position && !role_held(log, cursor->position, due))
				return true;
		}
	}
	return false;
}

/*
 * How many dispatchers a role has, or will have: one that has gone counts until
 * it is known why.
 */
int
role_serving(Role *role, List *workers)
{
	int count;

	LWLockAcquire(&Slots->lock, LW_SHARED);
	count = slot_count(WORKER_DISPATCHER, MyDatabaseId, role->role);
	LWLockRelease(&Slots->lock);
	return Max(count, worker_count(workers, role->role));
}

/*
 * Which roles without a dispatcher have work?
 */
void
role_find_work(List *workers, RoleDue *due)
{
	HASH_SEQ_STATUS seq;
	Role *role;

	if (watching)
		slot_no_interest();
	watching = false;

	hash_seq_init(&seq, Roles);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		ListCell *lc;

		/* That it may again will not wake us. */
		if (role->wanted && !worker_can_connect(role->role))
			role_poll(due, ROLE_AWAY);
		role->has_work = role->has_share = false;
		if (!role->wanted || role_serving(role, workers) > 0 || !worker_can_connect(role->role))
		{
			role->waiting_since = 0;
			continue;
		}
		foreach(lc, Managers)
		{
			ProcessManager *pm = lfirst(lc);

			if (pm->owner == role->role && !pm->paused && pm->at_home && role_has_work(pm, due))
			{
				role->has_work = true;
				break;
			}
		}
		if (!role->has_work)
			role->waiting_since = 0;
		else if (role->waiting_since == 0)
			role->waiting_since = GetCurrentTimestamp();
	}
}
