/*
 * attach.h
 *		pm.attach_log and pm.detach_log: who may call them, and with which names.
 */
#ifndef PM_ATTACH_H
#define PM_ATTACH_H

#include "log/log_catalog.h"

/*
 * Raises an error unless a log over this table can have this name: a log has the name of a table
 * that the caller could make, as with pm.create_log.  So nobody takes the names of logs that
 * others will want.
 */
extern void attach_require_name(char *given, Oid source);

/* Raises an error unless the caller may change this attached log. */
extern void attach_require_may_change(const LogRow *row);

#endif /* PM_ATTACH_H */
