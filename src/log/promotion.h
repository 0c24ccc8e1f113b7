/*
 * promotion.h
 *		After a promotion, moves a log's sequence past what the old primary may have drawn.
 */
#ifndef PM_PROMOTION_H
#define PM_PROMOTION_H

#include "access/xlog.h"

/* Returns the timeline of the server, if the sequence needs no skip on it any more; or 0. */
extern TimeLineID promotion_skip(Oid relid, Oid seqid);

/*
 * Makes sure that the sequence of a log has skipped positions if a promotion requires
 * it.  The caller is about to write the log, and holds the writer's lock.  It keeps
 * *timeline, so that this costs a comparison from then on.
 */
static inline void
promotion_pass(TimeLineID *timeline, Oid relid, Oid seqid)
{
	if (*timeline != GetWALInsertionTimeLine())
		*timeline = promotion_skip(relid, seqid);
}

/* Notes that a table has just become a log: nothing was drawn on other timelines. */
extern void promotion_begin(Oid relid);

/* Another table has taken the place of a log's table. */
extern void promotion_move(Oid from, Oid to);

/* Forgets the notes about the table of this log, before the log's row is deleted. */
extern void promotion_forget(const char *log);

#endif /* PM_PROMOTION_H */
