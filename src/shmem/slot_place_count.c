/*
 * slot_place_count.c
 *		Counts places and worker slots, and the workers that wait for them.
 */
#include "pm.h"

#include "base/guc.h"
#include "shmem/slot_place_count.h"

void
slot_place_count(PlaceCount *count)
{
	memset(count, 0, sizeof(*count));
	count->places = guc_max_workers;
	count->since = DT_NOEND;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (!slot->in_use)
			continue;
		/* A dispatcher that makes room still has its place, but counts as gone. */
		if (slot_place_taken(slot) && !slot->makes_room)
			count->places--;
		if (slot->makes_room && slot->pressed != PRESSED_GIVEN_UP)
			count->leaving++;
		/* "waits_role" does not count, because that wait only concerns the role's own places. */
		if (slot->waits == 0)
			continue;
		if (slot->waits_slot)
			count->wanted_slots += slot->waits;
		else
			count->wanted += slot->waits;
		if (slot->kind == WORKER_SCHEDULER)
			count->wanted_roles += slot->waits;
		count->since = Min(count->since, slot->waits_since);
	}
}

bool
slot_place_role_waits(Oid role, TimestampTz *since)
{
	int waits = 0;

	*since = DT_NOEND;
	for (int i = 0; i < Slots->nworkers; i++)
	{
		WorkerSlot *slot = &Slots->workers[i];

		if (slot->in_use && slot->waits_role == role)
		{
			waits++;
			*since = Min(*since, slot->waits_since);
		}
		else if (slot_place_taken(slot) && slot->role == role && slot->makes_room)
			waits--;
	}
	return waits > 0;
}

int
slot_place_of_role(Oid role)
{
	int count = 0;

	for (int i = 0; i < Slots->nworkers; i++)
		if (slot_place_is_dispatcher(&Slots->workers[i]) && Slots->workers[i].role == role)
			count++;
	return count;
}
