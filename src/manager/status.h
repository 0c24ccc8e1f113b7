/*
 * status.h
 *		Helper functions for the functions behind the monitoring views.
 */
#ifndef PM_STATUS_H
#define PM_STATUS_H

#include "fmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"

/* Adds a row to the result of a set-returning function. */
extern void status_put(FunctionCallInfo fcinfo, Datum *values, bool *nulls);
/* Adds a row of a transaction and its process: pg_locks' virtualtransaction, pid. */
extern void status_put_transaction(FunctionCallInfo fcinfo, VirtualTransactionId vxid, int pid);
/* The process that runs a transaction; 0 if the transaction is prepared. */
extern int status_session(VirtualTransactionId vxid);
/* What a process waits for at this moment; 0: it does not wait. */
extern uint32 status_wait_event(PGPROC *proc);
extern bool status_waits_for_lock(uint32 wait_event);
/* Fills two values with the type and the name of a wait event. */
extern void status_put_wait_event(uint32 info, Datum *values, bool *nulls);

#endif /* PM_STATUS_H */
