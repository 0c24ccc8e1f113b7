/*
 * role_watch.c
 *		What can give work to a role that has no dispatcher.
 *
 * When the scheduler looks at such a role, it asks to be woken by the writers of its logs,
 * and remembers how often that has happened.  The next look finds the same as long as no
 * more writers have ended, nothing was sent to the role's instances, nothing is due, and
 * the registrations are the same, which are loaded again after each change (role.c).
 *
 * The order of the steps is that of watch.c: ask, read the counts, and only then look.
 */
#include "pm.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "manager/registry.h"
#include "shmem/slot_interest.h"
#include "shmem/slot_sent.h"
#include "worker/role_watch.h"

/*
 * How often something was sent to instances of these process managers.  Each count only
 * rises, so the sum tells whether one of them has changed.
 */
static uint64
role_watch_sent(List *managers)
{
	uint64 sent = 0;
	ListCell *lc;

	foreach(lc, managers)
	{
		ProcessManager *pm = lfirst(lc);

		if (pm->kind == HANDLER_INSTANCE)
			sent += slot_sent_count(pm->id);
	}
	return sent;
}

void
role_watch_begin(RoleWatch *watch, List *managers, MemoryContext context)
{
	watch->context = context;
	watch->known = false;
	watch->began = GetCurrentTimestamp();
	watch->count = 0;
	watch->sent = role_watch_sent(managers);
	/* Read the count before the queue, so that what is sent meanwhile is not missed. */
	pg_memory_barrier();
}

/*
 * The look continues with other logs only if it finds no work in this one.
 */
void
role_watch_log(RoleWatch *watch, Oid relid)
{
	RoleLog *log;

	if (watch->count == watch->room)
	{
		int room = Max(4, watch->room * 2);

		watch->logs = watch->logs == NULL ?
						  MemoryContextAlloc(watch->context, sizeof(RoleLog) * room) :
						  repalloc_huge(watch->logs, sizeof(RoleLog) * room);
		watch->room = room;
	}
	log = &watch->logs[watch->count++];
	log->relid = relid;
	log->slot.slot = NULL;
	slot_interest(relid, &log->slot);
	log->wakes = slot_interest_wakes(relid, &log->slot);
	pg_memory_barrier();
}

void
role_watch_until(RoleWatch *watch, TimestampTz until)
{
	watch->until = until;
	watch->known = true;
}

static bool
role_watch_log_quiet(const RoleLog *log)
{
	return slot_interest_asked(log->relid, &log->slot) &&
		   slot_interest_wakes(log->relid, &log->slot) == log->wakes;
}

bool
role_watch_quiet(const RoleWatch *watch, List *managers)
{
	TimestampTz now = GetCurrentTimestamp();

	/* The clock may have been set back. */
	if (!watch->known || now >= watch->until || now < watch->began)
		return false;
	for (int i = 0; i < watch->count; i++)
		if (!role_watch_log_quiet(&watch->logs[i]))
			return false;
	return role_watch_sent(managers) == watch->sent;
}

void
role_watch_drop(RoleWatch *watch)
{
	for (int i = 0; i < watch->count; i++)
		slot_interest_drop(watch->logs[i].relid, &watch->logs[i].slot);
	watch->count = 0;
	watch->known = false;
}

void
role_watch_end(void)
{
	slot_interest_end();
}
