/*
 * highwater.h
 *		The high-water mark of a log.
 */
#ifndef PM_HIGHWATER_H
#define PM_HIGHWATER_H

#include "storage/lock.h"

typedef enum HighwaterView
{
	HIGHWATER_EVERYBODY, /* nothing of this transaction counts as settled */
	HIGHWATER_OWN		 /* this transaction's own events may be read */
} HighwaterView;

typedef enum HighwaterStatus
{
	HIGHWATER_COMPLETE, /* the mark is the last position */
	HIGHWATER_HELD,		/* a writer holds it back */
	HIGHWATER_UNKNOWN,	/* the sequence is locked: try again */
	HIGHWATER_REWOUND	/* the sequence was set back behind what has been seen of it */
} HighwaterStatus;

typedef struct Highwater
{
	HighwaterStatus status;
	int64 mark;
	int64 last;	   /* of the sequence */
	int64 reached; /* the highest last that anybody has seen */
} Highwater;

extern Highwater highwater_compute(Oid relid, Oid seqid, HighwaterView view);
extern Highwater highwater_known(Oid relid, Oid seqid, HighwaterView view, const char *log);
extern Highwater highwater_await(Oid relid, Oid seqid, HighwaterView view, const char *log);
extern VirtualTransactionId *highwater_writers(Oid relid, int *count);
extern bool highwater_self_writes(Oid relid);
extern char *highwater_set_back(const char *log, int64 last, int64 reached, char **hint);
COMPAT_NORETURN extern void highwater_refuse(const char *log, int64 last, int64 reached);
extern void highwater_require_fresh_snapshots(const char *function);

#endif /* PM_HIGHWATER_H */
