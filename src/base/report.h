/*
 * report.h
 *		What pm writes to the server's log, and how much of it.
 */
#ifndef PM_REPORT_H
#define PM_REPORT_H

#include "utils/elog.h"
#include "utils/timestamp.h"

/* Of an error's texts, so much is kept in tables, and so much goes to the log, in bytes. */
#define REPORT_KEPT	  8192
#define REPORT_LOGGED 1024

typedef enum ReportKind
{
	REPORT_FAILURE, /* may come again and again */
	REPORT_OUTCOME	/* comes once: an event is dead, a process manager has halted */
} ReportKind;

extern void report_install(void);
extern void report_begin(void);
extern const char *report_database(void);
extern const char *report_cut(const char *text, int limit);
extern const char *report_cut_context(const char *context, int limit);
extern bool report_may(Oid role, ReportKind kind);
extern int report_error(const ErrorData *error);
extern TimestampTz report_due(void);
extern void report_dropped(Oid role);

#endif /* PM_REPORT_H */
