/*
 * log_check.h
 *		Checks whether a log is as the high-water mark needs it.
 */
#ifndef PM_LOG_CHECK_H
#define PM_LOG_CHECK_H

#include "utils/relcache.h"

#include "log/log.h"

/* Does a log's sequence fit the positions in the log and in the cursors? */
typedef enum SequenceFit
{
	SEQUENCE_FITS,
	SEQUENCE_BEHIND, /* it would hand out positions that have been used */
	SEQUENCE_LOCKED, /* unknown, since another session has the sequence exclusively */
	SEQUENCE_UNKNOWN /* unknown, since the log has no index of its positions */
} SequenceFit;

/*
 * Compares the sequence's last value with the position that it must have
 * reached, and returns both.  Does not wait.
 */
extern SequenceFit log_sequence_fits(PmLog *log, int64 *last, int64 *needed);
/*
 * Notes the first problem of a log.  "accepted_file" is the file of the sequence that
 * was last accepted, and "at_home" tells whether that was in this database.  False if
 * another session has the sequence exclusively, so that it cannot be checked now.
 */
extern bool log_check(PmLog *log, Relation rel, Oid accepted_file, bool at_home);

#endif /* PM_LOG_CHECK_H */
