/*
 * log_index.h
 *		A log's events along the index of their positions.
 */
#ifndef PM_LOG_INDEX_H
#define PM_LOG_INDEX_H

#include "log.h"
#include "utils/timestamp.h"

/* Takes an event, whose values live until the next; false ends the reading. */
typedef bool (*LogIndexTake) (void *arg, EventFields *event);

extern bool log_index_may_plan(PmLog *log);
extern void log_index_refuse(PmLog *log);
extern int64 log_index_last(PmLog *log, int64 after);
extern bool log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at);
extern bool log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take, void *arg);

#endif							/* PM_LOG_INDEX_H */
