/*
 * slot_place.h
 *		Shares places and worker slots among the workers that need them.
 */
#ifndef PM_SLOT_PLACE_H
#define PM_SLOT_PLACE_H

#include "datatype/timestamp.h"

/*
 * May the role have another dispatcher?  If not, *share_taken tells whether that
 * is because it has its share.  The caller holds the lock of the workers' shared
 * memory.
 */
extern bool slot_place_free(Oid role, bool *share_taken);

/* What a worker waits for that starts others. */
typedef struct PlaceWait
{
	uint32 waits;	   /* how many it wants to start, but lacks a place, */
	bool for_slot;	   /* or a worker slot */
	bool brief;		   /* one of them has only little to do */
	Oid role;		   /* a role that has its share of places, but no dispatcher in this database */
	TimestampTz since; /* when this began */
} PlaceWait;

/* For workers that start others. */
extern void slot_place_wait(const PlaceWait *wait);
extern void slot_place_scarce(void);

/* For workers that could leave. */
extern bool slot_place_make_room(void);

/* How many places and worker slots are free, and whether workers wait for them. */
extern bool slot_place_any_waits(void);
extern bool slot_place_brief_waits(void);
extern bool slot_place_waits(void);
extern bool slot_place_waited(int64 ms);
extern int slot_place_spare(void);
extern bool slot_place_others_first(void);
extern bool slot_place_schedulers_wait(void);
extern bool slot_place_is_scarce(void);

#endif /* PM_SLOT_PLACE_H */
