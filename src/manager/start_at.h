/*
 * start_at.h
 *		Where a process manager begins in a log: start_at of pm.register.
 */
#ifndef PM_START_AT_H
#define PM_START_AT_H

#include "log/log.h"

/* Raises an error if start_at is not valid, whatever the log is. */
extern void start_at_check(const char *start_at);

/* The position after which handling begins; start_at is NULL where none was given. */
extern int64 start_at_position(PmLog *log, const char *start_at);

#endif /* PM_START_AT_H */
