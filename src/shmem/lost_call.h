/*
 * lost_call.h
 *		A call of a handler during which the dispatcher died.
 */
#ifndef PM_LOST_CALL_H
#define PM_LOST_CALL_H

#include "datatype/timestamp.h"

#include "shmem/handling.h"

/* How many lost calls are kept until they are counted as attempts. */
#define LOST_CALL_MAX 128

typedef struct LostCall
{
	Oid database; /* InvalidOid: the entry is free */
	Oid role;
	uint64 number; /* increases with each call: the oldest call has the lowest */
	pid_t pid;	   /* of the dispatcher */
	TimestampTz died_at;
	bool overdue; /* the handler did not react when its timeout canceled it */
	Handling handling;
} LostCall;

#endif /* PM_LOST_CALL_H */
