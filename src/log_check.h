/*
 * log_check.h
 *		Can a log be relied on?
 */
#ifndef PM_LOG_CHECK_H
#define PM_LOG_CHECK_H

#include "log.h"
#include "utils/relcache.h"

extern void log_problem(PmLog *log, const char *problem, const char *hint);
extern const char *log_column(PmLog *log, Relation rel, int attribute, const char *name, Oid type);
extern bool log_sequence_fits(PmLog *log, int64 *last, int64 *needed);
extern void log_check(PmLog *log, Relation rel, Oid known_file, bool at_home);

#endif							/* PM_LOG_CHECK_H */
