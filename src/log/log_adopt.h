/*
 * log_adopt.h
 *		Turns existing objects into a log that works.
 */
#ifndef PM_LOG_ADOPT_H
#define PM_LOG_ADOPT_H

#include "utils/relcache.h"

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
/*
 * Why a table cannot be made a log of this kind, as a sentence; NULL if it can.  *hint is set
 * if a command helps.
 */
extern const char *log_adopt_lacks(Relation rel, const char *table, LogKind kind, char **hint);
/*
 * Checks a log that was made of an existing table, and sets its sequence forward, so that its
 * next position is one that has not been used.
 */
extern void log_adopt_check(const char *name);
/* Raises an error if a table that the caller has locked has become a log while it waited. */
extern void log_adopt_require_free(Oid relid);
/* Makes an existing table the log of that name; its rows become events. */
extern void log_adopt_table(const char *name, Oid relid);

#endif /* PM_LOG_ADOPT_H */
