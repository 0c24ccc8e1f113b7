/*
 * trace_cause.h
 *		The causes of an event, from effect to cause.
 */
#ifndef PM_TRACE_CAUSE_H
#define PM_TRACE_CAUSE_H

#include "log/log.h"
#include "log/log_catalog.h"

/* What the metadata of an event names as its cause.  It can be anything. */
typedef struct TraceCause
{
	char *log; /* NULL: none */
	bool has_position;
	int64 position;
} TraceCause;

/* A cause that was found. */
typedef struct TraceCauseKey
{
	LogSource *source;
	int64 position;
} TraceCauseKey;

extern void trace_cause_read(EventFields *event, TraceCause *cause);

/*
 * Opens a log, unless the caller may not read it.  NULL if it is not to be read; if it
 * cannot be read now, its name is added to *left_out.
 */
extern PmLog *trace_cause_open(LogSource *source, List **left_out);

/*
 * The causes of an event of an open log, as far as the caller may read them: of
 * TraceCauseKey, the nearest first.
 */
extern List *trace_cause_list(PmLog *log, int64 position, List *sources, List **left_out);

#endif /* PM_TRACE_CAUSE_H */
