/*
 * seed.h
 *		Initializes a mark that is not known yet, from the furthest cursor.
 */
#ifndef PM_SEED_H
#define PM_SEED_H

#include "shmem/slot_generations.h"
#include "shmem/slot_ref.h"


/*
 * The log's slot in shared memory, with its mark known.  Gives the log one if it
 * has none and there is room; false, and ref->slot is NULL, if there is no room.
 * *reached is set to the highest position that readers have seen.  "ref" is from
 * an earlier call, or zero.
 */
extern bool seed_slot(Oid relid, LogRef *ref, int64 *reached);
/* This backend's own generations of a log without a slot, with their mark known. */
extern Generations *seed_local(Oid relid);

#endif /* PM_SEED_H */
