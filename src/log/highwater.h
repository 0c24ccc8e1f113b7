/*
 * highwater.h
 *		The high-water mark of a log.
 */
#ifndef PM_HIGHWATER_H
#define PM_HIGHWATER_H

#include "log/highwater_holders.h"

typedef enum HighwaterStatus
{
	HIGHWATER_COMPLETE, /* the mark is the last position */
	HIGHWATER_HELD,		/* a writer holds the mark back */
	HIGHWATER_UNKNOWN,	/* the sequence is locked: try again */
	HIGHWATER_REWOUND	/* the sequence was set back to below "reached" */
} HighwaterStatus;

typedef struct Highwater
{
	HighwaterStatus status;
	int64 mark;
	int64 last;	   /* the sequence's last value */
	int64 reached; /* the highest last value that any reader has seen */
} Highwater;

/* The mark now, without waiting; the caller reads with a snapshot taken afterwards. */
extern Highwater highwater_compute(Oid relid, Oid seqid, HighwaterView view);

#endif /* PM_HIGHWATER_H */
