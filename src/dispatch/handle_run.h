/*
 * handle_run.h
 *		A batch while it runs.
 */
#ifndef PM_HANDLE_RUN_H
#define PM_HANDLE_RUN_H

#include "dispatch/batch.h"
#include "dispatch/call.h"
#include "dispatch/tally.h"
#include "manager/park_rows.h"

/* The transaction IDs of subtransactions (separate.c). */
typedef struct SeparateIds
{
	int used; /* so far */
	int most; /* that one item has used */
} SeparateIds;

typedef struct HandleRun
{
	const BatchTask *task;
	Batch batch;
	Calls calls;
	Tally tally;
	bool had_parked;	 /* events were parked when the batch began */
	int in_a_row;		 /* keys that have failed since something was handled */
	int in_a_row_before; /* the same when the batch began */
	int errors;			 /* failures that this batch has parked */
	ParkRows parked;	 /* what this batch parks, and the last item that it has parked */
	const BatchItem *parked_last;
	SeparateIds ids;
	bool one_each;	 /* from now on, each item has a subtransaction of its own */
	int ahead;		 /* items that were handled but not counted yet, since they may be undone */
	bool timer_came; /* a call has set a timer that is already due */
	uint64 writes;	 /* guard_writes when the batch began */
} HandleRun;

#endif /* PM_HANDLE_RUN_H */
