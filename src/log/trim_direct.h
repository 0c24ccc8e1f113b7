/*
 * trim_direct.h
 *		Deleting the oldest events of a log without a DELETE.
 */
#ifndef PM_TRIM_DIRECT_H
#define PM_TRIM_DIRECT_H

#include "log/log.h"

extern const char *trim_direct_obstacle(PmLog *log);
extern int64 trim_direct(PmLog *log, int64 up_to, int64 max_count);

#endif /* PM_TRIM_DIRECT_H */
