/*
 * log_check.h
 *		Can a log be relied on?
 */
#ifndef PM_LOG_CHECK_H
#define PM_LOG_CHECK_H

#include "utils/relcache.h"

#include "log/log.h"

/* Does a log's sequence hand out nothing that was used, or that a reader is past? */
typedef enum SequenceFit
{
	SEQUENCE_FITS,
	SEQUENCE_BEHIND,
	SEQUENCE_LOCKED, /* cannot be found out now */
	SEQUENCE_UNKNOWN /* nor ever: the log has no index of its positions */
} SequenceFit;

extern void log_problem(PmLog *log, const char *problem, const char *hint);
extern const char *log_column(PmLog *log, Relation rel, int attribute, const char *name, Oid type);
extern SequenceFit log_sequence_fits(PmLog *log, int64 *last, int64 *needed);
extern bool log_check(PmLog *log, Relation rel, Oid known_file, bool at_home);

#endif /* PM_LOG_CHECK_H */
