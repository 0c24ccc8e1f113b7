/*
 * report.h
 *		What pm writes to the server's log, and how much of it.
 */
#ifndef PM_REPORT_H
#define PM_REPORT_H

#include "utils/elog.h"
#include "utils/timestamp.h"

/* How much of each text of an error is kept in tables and written to the log, in bytes. */
#define REPORT_KEPT	  8192
#define REPORT_LOGGED 1024

typedef enum ReportKind
{
	REPORT_FAILURE, /* can occur any number of times */
	REPORT_OUTCOME, /* happens once: an event is dead, or a process manager has halted */
	REPORT_SLOW		/* a slow call (pm.log_min_duration) */
} ReportKind;

extern void report_install(void);
/* From here on, the messages that this worker logs are cut.  Must be called in a transaction. */
extern void report_begin(void);

/* The name of this session's database.  The first call must be in a transaction. */
extern const char *report_database(void);

/* The text, or its beginning with a mark that says how long it was. */
extern const char *report_cut(const char *text, int limit);
extern const char *report_cut_context(const char *context, int limit);

/* May a message about a process manager of this role be logged?  Counts the message. */
extern bool report_may(Oid role, ReportKind kind);

/* The detail and context of an error, cut: to be called among the arguments of ereport(). */
extern int report_error(const ErrorData *error);

/* When report_dropped() is to be called; DT_NOEND if nothing was left out. */
extern TimestampTz report_due(void);

/* Reports how many messages about a role were left out in the last minute.  Needs a transaction. */
extern void report_dropped(Oid role);

#endif /* PM_REPORT_H */
