/*
 * attach_build.h
 *		What a backend knows of an attached log, in addition to a PmLog.
 */
#ifndef PM_ATTACH_BUILD_H
#define PM_ATTACH_BUILD_H

#include "utils/relcache.h"

#include "log/log.h"
#include "log/log_catalog.h"

/*
 * Fills what an attached log has in addition.  With a problem, log->attached is NULL and
 * the problem is noted.
 */
extern void attach_build(PmLog *log, Relation rel, const LogRow *row);
/* The same, but a problem is an error. */
extern void attach_build_or_fail(PmLog *log, Relation rel, const LogRow *row);

#endif /* PM_ATTACH_BUILD_H */
