/*
 * park.h
 *		Events set aside, in order, because they failed or an earlier one of
 *		their key did.
 */
#ifndef PM_PARK_H
#define PM_PARK_H

#include "base/key.h"
#include "manager/lane.h"
#include "manager/registry.h"

/* One parked event or timer. */
typedef struct Parked
{
	int64 id;
	char *key;
	char *log; /* NULL: a timer */
	int64 position;
	int attempts;
	TimestampTz retry_at; /* of the head, where only that was asked for */
	Datum event;		  /* a pm.event, 0 where it was not asked for */
	int64 too_large;	  /* 0, or its size: a stub stands for it */
} Parked;

extern void park_prefetch(ProcessManager *pm, int lane, List *keys);
extern bool park_has(ProcessManager *pm, int lane, Key *key);
extern void park_behind(ProcessManager *pm, int lane, const char *key, Datum event,
						int64 too_large);
extern bool park_postpone(ProcessManager *pm, int lane, int64 id, TimestampTz until, int patience);
extern void park_failed(ProcessManager *pm, int lane, const char *key, Datum event, int64 too_large,
						int attempts, int crashes, ErrorData *error);
extern bool park_failed_again(ProcessManager *pm, const Handling *what, ErrorData *error,
							  bool crash);
extern char *park_refused(ProcessManager *pm, LaneState *state, int lane);
extern Parked *park_due(ProcessManager *pm, int lane, TimestampTz now);
extern List *park_read(ProcessManager *pm, int lane, const char *key, int64 first, int limit);
extern bool park_take(int64 id);
extern void park_promote(ProcessManager *pm, int lane, const char *key, int64 gone);
extern int park_retry_all(ProcessManager *pm, int lane, int revive);

#endif /* PM_PARK_H */
