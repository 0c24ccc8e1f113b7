/*
 * log_trouble.h
 *		What keeps a role from reading a log, and since when.
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
	bool locked; /* somebody has it, and will let go of it */
} LogTrouble;

extern bool log_trouble_rights(LogTrouble *trouble, PmLog *log, Oid role);
/* Raises an error unless the role may read the log, and all of it. */
extern void log_require_select(PmLog *log, Oid role);
extern bool log_trouble(LogTrouble *trouble, PmLog *log, Oid role);
extern void log_trouble_locked(LogTrouble *trouble, const char *name);
extern void log_trouble_missing(LogTrouble *trouble, const char *name);
extern void log_trouble_rewound(LogTrouble *trouble, PmLog *log, int64 last, int64 needed);
extern void log_trouble_no_index(LogTrouble *trouble, PmLog *log);
extern void log_trouble_raise(const LogTrouble *trouble);

extern bool log_trouble_lasts(int manager, int lane, const char *name);
extern void log_trouble_over(int manager, int lane, const char *name);

#endif /* PM_LOG_TROUBLE_H */
