/*
 * log_audit.h
 *		Tells libraries that audit queries that a log is read.
 */
#ifndef PM_LOG_AUDIT_H
#define PM_LOG_AUDIT_H

#include "nodes/parsenodes.h"

#include "log/log.h"

/* The current role uses these rights on the log's table: ACL_SELECT, or ACL_DELETE too. */
extern void log_audit(PmLog *log, AclMode rights);

#endif /* PM_LOG_AUDIT_H */
