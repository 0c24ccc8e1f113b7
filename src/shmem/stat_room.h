/*
 * stat_room.h
 *		Makes room for the counters of a lane.
 */
#ifndef PM_STAT_ROOM_H
#define PM_STAT_ROOM_H

#include "shmem/stat_memory.h"

/* Makes room for an entry, unless it exists.  Allocates memory. */
extern void stat_room_make(const StatKey *key, uint32 hash, Oid owner);

#endif /* PM_STAT_ROOM_H */
