/*
 * lane_try.h
 *		Notes, after a promotion, for which item a handler is about to be called.
 */
#ifndef PM_LANE_TRY_H
#define PM_LANE_TRY_H

#include "manager/lane_row.h"
#include "shmem/handling.h"

typedef struct LaneTry
{
	bool careful;	 /* the lane has not passed what was in hand at the last promotion */
	uint32 timeline; /* on which the item below was noted; 0: none is noted */
	HandlingSource source;
	bool correlating; /* only correlate was about to be called */
	char *log;		  /* NULL: a timer */
	int64 position;
	int64 id;
} LaneTry;

/* Reads what the open row of a lane has of it. */
extern void lane_try_read(LaneRow *row, LaneTry *tried);

/* Is this item noted on the present timeline? */
extern bool lane_try_is(const LaneTry *tried, const Handling *what);

/* Has a primary that is gone left a note?  Then *what is set to the item. */
extern bool lane_try_left(const LaneTry *tried, Handling *what);

/* Note an item, or forget what is noted. */
extern void lane_try_note(const char *manager, const Handling *what);
extern void lane_try_forget(const char *manager, int lane);

/* The unit has passed what was in hand at the last promotion. */
extern void lane_try_passed(const char *manager, int lane);

#endif /* PM_LANE_TRY_H */
