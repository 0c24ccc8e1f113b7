/*
 * dispatch.h
 *		One batch of one unit: mark -> read -> handle -> advance.
 */
#ifndef PM_DISPATCH_H
#define PM_DISPATCH_H

#include "highwater.h"
#include "lane.h"
#include "registry.h"
#include "utils/elog.h"

typedef enum DispatchOutcome
{
	DISPATCH_IDLE,				/* nothing to handle */
	DISPATCH_DONE,				/* handled what there was */
	DISPATCH_MORE,				/* and there is more */
	DISPATCH_BUSY,				/* somebody else has the unit or a log */
	DISPATCH_STALE,				/* the registration has changed: load it again */
	DISPATCH_STOPPED			/* paused, halted, or not yet to be retried */
} DispatchOutcome;

typedef struct DispatchResult
{
	DispatchOutcome outcome;
	int			handled;		/* events */
	bool		held;			/* a mark is held back by a writer */
	TimestampTz retry_at;		/* of a stopped unit, DT_NOEND: not by itself */
} DispatchResult;

typedef struct DispatchRequest
{
	ProcessManager *pm;
	int			lane;
	int64		max_events;		/* at most this many, and one at a time if 1 */
	HighwaterView view;
	bool		wait;			/* for who has the unit */
} DispatchRequest;

/* Where an error has interrupted a batch. */
typedef enum DispatchStage
{
	STAGE_PREPARE,				/* no handler is to blame */
	STAGE_HANDLE,				/* the handler, at event "index" */
	STAGE_COMMIT				/* some event of the batch: deferred constraints */
} DispatchStage;

typedef struct DispatchProgress
{
	DispatchStage stage;
	int			index;			/* of the failing event, events before it went well */
	int			count;			/* events read */
	char		log[256];		/* the failing event, or the only one */
	int64		position;
} DispatchProgress;

/* Of the batch that runs or has failed last. */
extern DispatchProgress DispatchCurrent;

extern DispatchResult dispatch_batch(DispatchRequest *request);
extern void dispatch_abandon(void);
extern bool dispatch_retry_at_once(int sqlerrcode);
extern bool dispatch_servers_fault(int sqlerrcode);
extern void dispatch_wait(ProcessManager *pm, int lane, LaneState *state, ErrorData *error);
extern bool dispatch_error(ErrorData *error, ProcessManager *pm);

#endif							/* PM_DISPATCH_H */
