/*
 * trim_direct.h
 *		Deletes the oldest events of a log without a DELETE.
 */
#ifndef PM_TRIM_DIRECT_H
#define PM_TRIM_DIRECT_H

#include "log/log.h"

/*
 * Why the log can only be trimmed by a DELETE, as a sentence; NULL if it can be
 * trimmed without one.
 */
extern const char *trim_direct_obstacle(PmLog *log);
/* Deletes the oldest events up to a position, at most max_count.  Returns how many. */
extern int64 trim_direct(PmLog *log, int64 up_to, int64 max_count);

#endif /* PM_TRIM_DIRECT_H */
