/*
 * slot_place_count.h
 *		Counts places and worker slots, and the workers that wait for them.
 *
 * This header is private to src/shmem.  The caller of each function holds
 * Slots->lock.
 */
#ifndef PM_SLOT_PLACE_COUNT_H
#define PM_SLOT_PLACE_COUNT_H

#include "shmem/slot_memory.h"

/* What has been done so that a dispatcher leaves (slot_press.c). */
typedef enum PlacePressed
{
	PRESSED_ASKED,
	PRESSED_CANCELLED,
	PRESSED_ENDED,
	PRESSED_GIVEN_UP
} PlacePressed;

/* How many places and worker slots are free, and how many are waited for. */
typedef struct PlaceCount
{
	int places;		   /* places that are free, or about to be */
	int leaving;	   /* worker slots that are about to be free */
	int wanted;		   /* places that are waited for */
	int wanted_slots;  /* worker slots that are waited for */
	int wanted_roles;  /* of these two, those that schedulers wait for */
	TimestampTz since; /* when the first of these waits began, DT_NOEND: there is none */
} PlaceCount;

static inline bool
slot_place_is_dispatcher(WorkerSlot *slot)
{
	return slot->in_use && slot->kind == WORKER_DISPATCHER;
}

/*
 * Does the worker take a place?  One that cannot be ended does not.
 */
static inline bool
slot_place_taken(WorkerSlot *slot)
{
	return slot_place_is_dispatcher(slot) && slot->pressed != PRESSED_GIVEN_UP;
}

/* Are more places or worker slots waited for than are free, or about to be? */
static inline bool
slot_place_lacking(PlaceCount *count)
{
	return count->places < count->wanted || count->leaving < count->wanted_slots;
}

extern void slot_place_count(PlaceCount *count);

/* How many dispatchers does a role have, in all databases? */
extern int slot_place_of_role(Oid role);

/*
 * Does a role wait in some database for one of its own places?  *since is set
 * to the time when the wait began.
 */
extern bool slot_place_role_waits(Oid role, TimestampTz *since);

#endif /* PM_SLOT_PLACE_COUNT_H */
