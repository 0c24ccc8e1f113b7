/*
 * attach.h
 *		pm.attach_log and pm.detach_log.
 */
#ifndef PM_ATTACH_H
#define PM_ATTACH_H

#include "log/log_catalog.h"

/* Raises an error unless the caller may change this attached log. */
extern void attach_require_may_change(const LogRow *row);

#endif /* PM_ATTACH_H */
