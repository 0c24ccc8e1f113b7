/*
 * attach_check.h
 *		Checks whether an attached log is as the high-water mark needs it.
 */
#ifndef PM_ATTACH_CHECK_H
#define PM_ATTACH_CHECK_H

#include "utils/relcache.h"

#include "log/log.h"
#include "log/log_catalog.h"

/* The trigger that wakes readers, on a table whose owner has attached it. */
#define ATTACH_TRIGGER "pm_after_write"

/*
 * Notes the first problem of an attached log, as log_check() does.  False if another session
 * has the sequence exclusively, so that it cannot be checked now.
 */
extern bool attach_check(PmLog *log, Relation rel, const LogRow *row);
/* Does the table have the trigger that wakes readers, for every statement, in every session? */
extern bool attach_has_trigger(Relation rel);
/* Why a relation of this kind cannot be attached, as a sentence; NULL if it can. */
extern const char *attach_refuses_table(Relation rel);
/* The call of pm.attach_log that attaches the log as it is, for a hint. */
extern char *attach_call(const LogRow *row);

#endif /* PM_ATTACH_CHECK_H */
