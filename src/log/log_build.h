/*
 * log_build.h
 *		Builds what a backend knows of a log from its row in the catalog.
 */
#ifndef PM_LOG_BUILD_H
#define PM_LOG_BUILD_H

#include "log/log.h"
#include "log/log_catalog.h"

/* The relations that a log is built from. */
typedef struct LogRelations
{
	Oid table;
	Oid sequence; /* InvalidOid until it is known */
} LogRelations;

/*
 * Builds the log in a child of CacheMemoryContext.  With nowait, NULL while
 * another session has locked the table or its sequence exclusively.  *used is
 * set before each of them is read.
 */
extern PmLog *log_build(const LogRow *row, bool nowait, LogRelations *used);
/* A log of which nothing is known yet, in a child of the current memory context. */
extern PmLog *log_build_empty(const LogRow *row);
/* Sets the names of the columns. */
extern void log_build_names(PmLog *log, const LogRow *row);

#endif /* PM_LOG_BUILD_H */
