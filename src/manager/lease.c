/*
 * lease.c
 *		Leases: which consumer holds a lane, and what it has fetched from it.
 *
 * A lease is read from its rows (lease_row.c), queried and changed here, and written
 * again.
 *
 * Assumes that the caller holds the lock of the unit, except where it only reads.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "manager/lease.h"

/*
 * Called when the positions that were fetched mean nothing any more, or belong to other
 * lanes.  A database whose extension is of version 0.1.0 has no leases.
 */
void
lease_void(const ProcessManager *pm)
{
	static ExecStatement delete_leases = {
		NULL,
		"WITH f AS (DELETE FROM pm_catalog.fetched "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM pm_catalog.lease WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	if (OidIsValid(exec_catalog_relid("lease")))
		(void) exec_as_owner(&delete_leases, values, NULL);
}

/* ---------- asking ---------- */

bool
lease_is_held(const Lease *lease)
{
	return lease->consumer != NULL && lease->until > GetCurrentTimestamp();
}

/*
 * Another role cannot take a lease over by giving the same name.  Members of the
 * process manager's owner can act for every consumer.
 */
bool
lease_is_of(const Lease *lease, const char *consumer)
{
	return lease->consumer != NULL && strcmp(lease->consumer, consumer) == 0 &&
		   (lease->role == GetUserId() || has_privs_of_role(GetUserId(), lease->pm->owner) ||
			has_privs_of_role(GetUserId(), lease->role));
}

int
lease_count(const Lease *lease)
{
	int count = lease->nparked + lease->ntimers;
	ListCell *lc;

	foreach(lc, lease->logs)
		count += ((Fetched *) lfirst(lc))->nevents;
	return count;
}

Fetched *
lease_fetched(Lease *lease, const char *log, bool add)
{
	Fetched *fetched;
	ListCell *lc;

	foreach(lc, lease->logs)
		if (strcmp(((Fetched *) lfirst(lc))->log, log) == 0)
			return lfirst(lc);
	if (!add)
		return NULL;
	fetched = palloc0(sizeof(Fetched));
	fetched->log = pstrdup(log);
	lease->logs = lappend(lease->logs, fetched);
	return fetched;
}

/*
 * The numbers of tries decrease with the position, because each fetch begins at the
 * cursor.
 */
int
lease_event_tries(Lease *lease, const char *log, int64 position)
{
	Fetched *fetched = lease_fetched(lease, log, false);

	if (fetched == NULL)
		return 0;
	for (int i = 0; i < fetched->ntried; i++)
		if (position <= fetched->tried_to[i])
			return fetched->tries[i];
	return 0;
}

bool
lease_was_tried(Lease *lease, const char *log, int64 position)
{
	Fetched *fetched = lease_fetched(lease, log, false);

	return fetched != NULL && fetched->ntried > 0 &&
		   position <= fetched->tried_to[fetched->ntried - 1];
}

int
lease_timer_tries(const Lease *lease, int64 id)
{
	for (int i = 0; i < lease->ntried_timers; i++)
		if (lease->tried_timers[i] == id)
			return lease->timer_tries[i];
	return 0;
}

bool
lease_has(const int64 *numbers, int count, int64 number)
{
	for (int i = 0; i < count; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

bool
lease_has_event(Lease *lease, const char *log, int64 position)
{
	Fetched *fetched = lease_fetched(lease, log, false);
	int low = 0;
	int high = fetched == NULL ? 0 : fetched->nevents;

	/* The positions are in order. */
	while (low < high)
	{
		int middle = (low + high) / 2;

		if (fetched->events[middle] == position)
			return true;
		if (fetched->events[middle] < position)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool
lease_has_passed(Lease *lease, const char *log, int64 position)
{
	Fetched *fetched = lease_fetched(lease, log, false);

	return fetched != NULL && lease_has(fetched->passed, fetched->npassed, position);
}

/* ---------- changing ---------- */

/*
 * Adds a number to an array, which grows when its count is a power of 2.
 */
int64 *
lease_add(int64 *numbers, int *count, int64 number)
{
	if (numbers == NULL)
		numbers = palloc(sizeof(int64));
	else if ((*count & (*count - 1)) == 0)
		numbers = repalloc(numbers, sizeof(int64) * Max(*count * 2, 1));
	numbers[(*count)++] = number;
	return numbers;
}

void
lease_pass(Lease *lease, const char *log, int64 position)
{
	Fetched *fetched = lease_fetched(lease, log, true);

	fetched->passed = lease_add(fetched->passed, &fetched->npassed, position);
}

int
lease_without(int64 *numbers, int count, int64 number)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (numbers[i] != number)
			numbers[kept++] = numbers[i];
	return kept;
}

/*
 * Keeps the numbers after a position.  Returns how many there are.
 */
int
lease_keep_after(int64 *numbers, int count, int64 position)
{
	int kept = 0;

	for (int i = 0; i < count; i++)
		if (numbers[i] > position)
			numbers[kept++] = numbers[i];
	return kept;
}

void
lease_forget_up_to(Lease *lease, const char *log, int64 position)
{
	Fetched *fetched = lease_fetched(lease, log, false);
	int gone = 0;

	if (fetched == NULL)
		return;
	fetched->npassed = lease_keep_after(fetched->passed, fetched->npassed, position);
	while (gone < fetched->ntried && fetched->tried_to[gone] <= position)
		gone++;
	fetched->ntried -= gone;
	memmove(fetched->tried_to, fetched->tried_to + gone, sizeof(int64) * fetched->ntried);
	memmove(fetched->tries, fetched->tries + gone, sizeof(int32) * fetched->ntried);
}

void
lease_take(Lease *lease, const char *consumer, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!lease_is_of(lease, consumer))
	{
		lease->consumer = pstrdup(consumer);
		lease->role = GetUserId();
		lease->since = now;
	}
	lease->until = until;
	lease->served_at = now;
}

/*
 * Counts tries of all events of a log that were fetched.  Each fetch begins at the
 * cursor, so a count of tries belongs to a prefix of the events: the longer the prefix,
 * the lower its count.
 */
static void
lease_tried(Fetched *fetched, int more)
{
	int64 last = fetched->events[fetched->nevents - 1];
	int64 *tried_to = palloc(sizeof(int64) * (fetched->ntried + 1));
	int32 *tries = palloc(sizeof(int32) * (fetched->ntried + 1));
	int count = 0;
	int i = 0;

	for (; i < fetched->ntried && fetched->tried_to[i] < last; i++)
	{
		tried_to[count] = fetched->tried_to[i];
		tries[count++] = fetched->tries[i] + more;
	}
	tried_to[count] = last;
	tries[count++] = (i < fetched->ntried ? fetched->tries[i] : 0) + more;
	if (i < fetched->ntried && fetched->tried_to[i] == last)
		i++;
	for (; i < fetched->ntried; i++)
	{
		tried_to[count] = fetched->tried_to[i];
		tries[count++] = fetched->tries[i];
	}
	fetched->tried_to = tried_to;
	fetched->tries = tries;
	fetched->ntried = count;
}

/*
 * A prefix is recorded even if no try is counted, so that the parked events of the lane
 * wait until it is fetched again.
 */
void
lease_give_up(Lease *lease, int tries)
{
	ListCell *lc;

	lease->consumer = NULL;
	lease->role = InvalidOid;
	lease->since = lease->until = 0;
	lease->nparked = lease->ntimers = 0;
	foreach(lc, lease->logs)
	{
		Fetched *fetched = lfirst(lc);

		if (fetched->nevents > 0)
			lease_tried(fetched, tries);
		fetched->up_to = 0;
		fetched->nevents = 0;
	}
}
