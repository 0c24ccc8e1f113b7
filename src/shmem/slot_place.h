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

/* For workers that start others: they wait, and make another worker leave. */
extern void slot_place_wait(uint32 waits, bool for_slot, Oid role, TimestampTz since);
extern void slot_place_press(void);
extern void slot_place_allow(int index, int64 ms);
extern void slot_place_scarce(void);

/* For workers that could leave. */
extern bool slot_place_make_room(void);

/* How many places and worker slots are free, and whether workers wait for them. */
extern bool slot_place_any_waits(void);
extern bool slot_place_waits(void);
extern bool slot_place_waited(int64 ms);
extern bool slot_place_last(void);
extern bool slot_place_others_first(void);
extern bool slot_place_schedulers_wait(void);
extern bool slot_place_is_scarce(void);

#endif /* PM_SLOT_PLACE_H */
