/*
 * log_index_ask.h
 *		Answers questions about a log's events, along the index of their positions.
 */
#ifndef PM_LOG_INDEX_ASK_H
#define PM_LOG_INDEX_ASK_H

#include "utils/timestamp.h"

#include "log/log.h"

/* Does the log have an index of its positions? */
extern bool log_index_exists(PmLog *log);
/* Does the log have an event at this position? */
extern bool log_index_has(PmLog *log, int64 position);
/*
 * When the first event after a position was recorded; false if that is not known, or if there
 * is none.
 */
extern bool log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at);
/*
 * How many events there are among the first "most" rows after a position; -1 if the log has no
 * index.
 */
extern int log_index_count(PmLog *log, int64 after, int most);
/*
 * The position of the last row, if it is after this one; else false.  *known is
 * false if the log has no index of its positions; that is an error if "known" is
 * NULL.
 */
extern bool log_index_last(PmLog *log, int64 after, int64 *position, bool *known);
/*
 * The position of the first event that was recorded at this time or later; false if
 * there is none.
 */
extern bool log_index_since(PmLog *log, TimestampTz since, int64 *position);

#endif /* PM_LOG_INDEX_ASK_H */
