/*
 * status.h
 *		What the files behind the monitoring views share.
 */
#ifndef PM_STATUS_H
#define PM_STATUS_H

#include "fmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"

extern void status_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls);
extern int status_session(VirtualTransactionId vxid);
extern uint32 status_wait_event(PGPROC *proc);
extern void status_put_wait_event(uint32 info, Datum *values, bool *nulls);

#endif /* PM_STATUS_H */
