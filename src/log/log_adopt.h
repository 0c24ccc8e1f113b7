/*
 * log_adopt.h
 *		Turns existing objects into a log that works.
 */
#ifndef PM_LOG_ADOPT_H
#define PM_LOG_ADOPT_H

#include "log/log.h"
#include "log/log_catalog.h"

/*
 * Accepts the sequence of a copied log, if it fits.  With nowait, false while
 * another session has locked the table or the sequence exclusively.
 */
extern bool log_adopt(const char *name, bool nowait);
/* The same for a log of which the caller may own the table; does nothing for any other. */
extern void log_adopt_unnamed(const LogSource *source);
/* Restores missing parts of a log's guard, and accepts its sequence. */
extern void log_repair(PmLog *log);
/* Creates the guard of a table, and makes the table the log of that name. */
extern void log_make(const char *name, Oid relid, LogKind kind);
/* Makes an existing table the log of that name; its rows become events. */
extern void log_adopt_table(const char *name, Oid relid);

#endif /* PM_LOG_ADOPT_H */
