/*
 * log_audit.h
 *		Tells who audits queries that a log is read.
 */
#ifndef PM_LOG_AUDIT_H
#define PM_LOG_AUDIT_H

#include "nodes/parsenodes.h"

#include "log/log.h"

extern void log_audit(PmLog *log, AclMode rights);

#endif /* PM_LOG_AUDIT_H */
