/*
 * log_trouble.h
 *		Finds out what keeps a role from reading a log, and since when.
 */
#ifndef PM_LOG_TROUBLE_H
#define PM_LOG_TROUBLE_H

#include "log/log.h"

typedef struct LogTrouble
{
	const char *message; /* NULL: there is none */
	const char *detail;
	const char *hint;
	int sqlerrcode;
	bool locked; /* another session has locked the log, and will release it */
} LogTrouble;

/* Is there a problem that can be seen without reading the log? */
extern bool log_trouble(LogTrouble *trouble, PmLog *log, Oid role);
/* Does the role lack a right to read all of the log? */
extern bool log_trouble_rights(LogTrouble *trouble, PmLog *log, Oid role);
/* The log is locked. */
extern void log_trouble_locked(LogTrouble *trouble, const char *name);
/* There is no such log. */
extern void log_trouble_missing(LogTrouble *trouble, const char *name);
/* The sequence is at "last", but readers have seen it at "needed". */
extern void log_trouble_rewound(LogTrouble *trouble, PmLog *log, int64 last, int64 needed);
/* The log cannot be read in the order of its positions. */
extern void log_trouble_no_index(LogTrouble *trouble, PmLog *log);

/* The row at this position of an attached log cannot be made an event. */
extern void log_trouble_row(LogTrouble *trouble, PmLog *log, int64 position, const char *error);

/* Raises it as an error. */
COMPAT_NORETURN extern void log_trouble_raise(const LogTrouble *trouble);
/* Raises an error unless the role may read the log, and all of it. */
extern void log_require_select(PmLog *log, Oid role);

/*
 * Notes that a unit cannot read a log now.  Has that been so for long enough to continue
 * without it?
 */
extern bool log_trouble_lasts(int manager, int lane, const char *name);
/* Notes that the unit can read the log. */
extern void log_trouble_over(int manager, int lane, const char *name);

#endif /* PM_LOG_TROUBLE_H */
