/*
 * log_adopt.h
 *		Making logs of what is there.
 */
#ifndef PM_LOG_ADOPT_H
#define PM_LOG_ADOPT_H

#include "log/log.h"
#include "log/log_catalog.h"

extern bool log_adopt(const char *name, bool nowait);
extern void log_adopt_unnamed(const LogSource *source);
extern void log_repair(PmLog *log);
extern void log_adopt_table(const char *name, Oid relid);

#endif /* PM_LOG_ADOPT_H */
