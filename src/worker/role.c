/*
 * role.c
 *		Keeps the roles that own process managers of a database, and finds out which have work.
 *
 * This is a part of the scheduler.  It looks for work only for roles without a
 * dispatcher: it compares the cursors with the sequences of the logs, and reads no log.
 * So there may be nothing to do although it finds work (events of other types,
 * positions of transactions that were rolled back), but no work is overlooked.
 *
 * There can be many such roles, and each of their events wakes the scheduler.  So it looks
 * at a role again only if something may have changed for it (role_watch.c), or is due.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "log/attached.h"
#include "log/highwater.h"
#include "log/log_open.h"
#include "log/sequence.h"
#include "manager/cursor.h"
#include "manager/lane.h"
#include "manager/registry.h"
#include "manager/sent.h"
#include "shmem/slot.h"
#include "shmem/slot_database.h"
#include "shmem/wakeup.h"
#include "worker/role.h"
#include "worker/worker.h"

void
role_begin(Roles *roles)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Role);
	roles->table = hash_create("pm roles", 16, &ctl, HASH_ELEM | HASH_BLOBS);
}

/*
 * The entry of a role, which is created if there is none.
 */
static Role *
role_enter(Roles *roles, Oid oid)
{
	bool found;
	Role *role = hash_search(roles->table, &oid, HASH_ENTER, &found);

	if (!found)
	{
		memset(role, 0, sizeof(Role));
		role->role = oid;
		role->backoff = ROLE_BACKOFF;
		/* An earlier scheduler has recorded it. */
		role->gave_way = slot_database_gave_way();
	}
	return role;
}

/*
 * Assigns the process managers to their owners.  What is known about a role is
 * kept, even while it has none.
 */
static void
role_assign(Roles *roles)
{
	HASH_SEQ_STATUS seq;
	Role *role;
	ListCell *lc;

	roles->count = roles->copies = 0;
	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		/* The old list was in the memory context that was reset, and so was what is watched. */
		role->managers = NIL;
		role->lanes = 0;
		memset(&role->watch, 0, sizeof(RoleWatch));
	}
	foreach(lc, roles->managers)
	{
		ProcessManager *pm = lfirst(lc);

		roles->copies += pm->at_home ? 0 : 1;
		/* Consumers do the work of those that have no handler. */
		if (pm->paused || !pm->at_home || !OidIsValid(pm->owner) || pm->handler == NULL)
			continue;
		role = role_enter(roles, pm->owner);
		roles->count += role->managers == NIL ? 1 : 0;
		roles->any = pm->owner;
		role->managers = lappend(role->managers, pm);
		role->lanes = Max(role->lanes, pm->lanes);
	}
}

/* When role_load() has last loaded them. */
static TimestampTz role_loaded_at = 0;

/*
 * Loads the registrations when they have changed.
 */
void
role_load(Roles *roles)
{
	MemoryContext old;

	if (roles->version == registry_version() && roles->generation == wakeup_registry_generation() &&
		roles->context != NULL)
		return;
	if (roles->context == NULL)
		roles->context = AllocSetContextCreate(TopMemoryContext, "pm managers",
											   ALLOCSET_DEFAULT_SIZES);
	role_watch_end();
	MemoryContextReset(roles->context);
	roles->managers = NIL;

	/* Read both before the registrations, so that a change meanwhile is loaded the next time. */
	roles->generation = wakeup_registry_generation();
	roles->version = registry_version();
	role_loaded_at = GetCurrentTimestamp();
	old = MemoryContextSwitchTo(roles->context);
	roles->managers = registry_load(InvalidOid);
	role_assign(roles);
	MemoryContextSwitchTo(old);
}

static void
role_look_at(RoleDue *due, TimestampTz at)
{
	due->at = Min(due->at, at);
}

/*
 * Nothing will wake us, so look again after some time.
 */
static void
role_poll(RoleDue *due, long away)
{
	long ms = due->leaving ? Max(away, guc_poll_interval) : guc_poll_interval;

	role_look_at(due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms));
}

/*
 * Has the time come?  If not, look again then, and also from time to time
 * before that, since the clock can be set.
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

/*
 * Are all events above a position held back by open writers?  Then a dispatcher
 * would find nothing.  It should be started when the writers have ended, but not
 * every end wakes us, so look again after some time.
 */
static bool
role_is_held(PmLog *log, int64 position, RoleDue *due)
{
	Highwater mark = highwater_compute(log->relid, log->seqid, HIGHWATER_EVERYBODY);

	if (mark.status == HIGHWATER_REWOUND ||
		(mark.status != HIGHWATER_UNKNOWN && mark.mark > position))
		return false;
	role_poll(due, ROLE_AWAY_HELD);
	return true;
}

/*
 * Is there something in a log beyond the cursor?
 */
static bool
role_log_has_work(Role *role, Cursor *cursor, RoleDue *due)
{
	bool locked;
	PmLog *log = log_get_nowait(cursor->log, &locked);
	int64 last;

	/* Ask the writers to wake us before the sequence is read, so that none is missed. */
	if (log != NULL)
		role_watch_log(&role->watch, log->relid);
	/* It cannot be read now, and nothing wakes us when it can. */
	if (log == NULL || log->problem != NULL || !sequence_look(log->seqid, &last))
	{
		role_poll(due, ROLE_AWAY);
		return false;
	}
	if (last <= cursor->position)
	{
		/* Writers of an attached log wake us only if its table has a trigger. */
		if (log->attached != NULL && !log->attached->woken)
			role_poll(due, ROLE_AWAY_HELD);
		return false;
	}
	if (role_is_held(log, cursor->position, due))
		return false;
	role->much |= last - cursor->position > ROLE_MUCH;
	return true;
}

/*
 * Does a unit have something to do now?  If not, *due is moved to the time when it
 * will, as far as that is known.
 */
static bool
role_unit_has_work(Role *role, ProcessManager *pm, int lane, RoleDue *due)
{
	LaneState state;
	ListCell *lc;
	bool sending;

	lane_state(pm, lane, &state);
	/* Only a person can make it continue, and that wakes this scheduler. */
	if (state.status == LANE_HALTED)
		return false;
	/* While it waits for a retry, nothing else is done. */
	if (state.status == LANE_RETRYING || state.status == LANE_WAITING)
		return lane_retry_due(&state, GetCurrentTimestamp()) || role_timer_due(state.retry_at, due);
	if (state.status == LANE_PARKING || lane_parked_due(&state, GetCurrentTimestamp()) ||
		role_timer_due(state.parked_due, due) ||
		(pm->kind == HANDLER_INSTANCE && role_timer_due(state.timer_due, due)))
		return true;
	if (sent_any(pm, &sending))
		return true;
	/* Nothing wakes us when a prepared transaction is committed. */
	if (sending)
		role_poll(due, ROLE_AWAY_HELD);
	foreach(lc, cursor_list(pm, lane))
		if (role_log_has_work(role, lfirst(lc), due))
			return true;
	return false;
}

static bool
role_has_work(Role *role, RoleDue *due)
{
	ListCell *lc;

	role->much = role->unfinished;
	foreach(lc, role->managers)
	{
		ProcessManager *pm = lfirst(lc);

		for (int lane = 0; lane < pm->lanes; lane++)
			if (role_unit_has_work(role, pm, lane, due))
				return true;
	}
	return false;
}

/*
 * Were the registrations loaded only now?
 */
static bool
role_is_fresh(void)
{
	return GetCurrentTimestamp() <
		   TimestampTzPlusMilliseconds(role_loaded_at, guc_poll_interval / 2);
}

/*
 * Looks whether a role without a dispatcher has work, unless nothing can have changed
 * since the last look.
 */
static void
role_look(Roles *roles, Role *role, RoleDue *due)
{
	RoleDue next = {.at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROLE_LOOK),
					.leaving = due->leaving};

	/* A scheduler that leaves must know when the role has work, as seen from then. */
	if (due->leaving || !role_watch_quiet(&role->watch, role->managers))
	{
		role_watch_begin(&role->watch, role->managers, roles->context);
		role->has_work = role_has_work(role, &next);
		/*
		 * What it waits for may be gone before it gets a dispatcher.  After a change of a log,
		 * we are woken just before its invalidation arrives, so look once more.
		 */
		if (role->has_work || role_is_fresh())
			next.at = Min(next.at,
						  TimestampTzPlusMilliseconds(GetCurrentTimestamp(), guc_poll_interval));
		role_watch_until(&role->watch, next.at);
	}
	role_look_at(due, role->watch.until);
}

/*
 * How many dispatchers a role has, or will have.  A dispatcher that has ended
 * counts until it is known why it has ended.
 */
int
role_serving(Role *role, List *workers)
{
	return Max(slot_count(WORKER_DISPATCHER, MyDatabaseId, role->role),
			   worker_count(workers, role->role));
}

/*
 * Is this role without a dispatcher, and may it get one?
 */
static bool
role_is_without(Role *role, List *workers, RoleDue *due)
{
	if (role->managers == NIL)
		return false;
	if (!worker_can_connect(role->role))
	{
		/* Nothing wakes us when the role may connect again. */
		role_poll(due, ROLE_AWAY);
		return false;
	}
	return role_serving(role, workers) == 0;
}

/*
 * Finds out which roles without a dispatcher have work.  *due is moved to when
 * there may be more.
 */
void
role_find_work(Roles *roles, List *workers, RoleDue *due)
{
	HASH_SEQ_STATUS seq;
	Role *role;

	/*
	 * First withdraw what is not asked for any more.  Roles can follow the same log, so
	 * that must not be done when other roles have been found to be asking.
	 */
	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		role->has_share = false;
		role->without = role_is_without(role, workers, due);
		if (!role->without || !role_watch_quiet(&role->watch, role->managers))
			role_watch_drop(&role->watch);
	}

	hash_seq_init(&seq, roles->table);
	while ((role = hash_seq_search(&seq)) != NULL)
	{
		if (role->without)
			role_look(roles, role, due);
		else
			role->has_work = false;
		if (!role->has_work)
			role->waiting_since = 0;
		else if (role->waiting_since == 0)
			role->waiting_since = GetCurrentTimestamp();
	}
}
