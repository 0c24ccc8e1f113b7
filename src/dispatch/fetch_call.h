/*
 * fetch_call.h
 *		A call of pm.fetch.
 */
#ifndef PM_FETCH_CALL_H
#define PM_FETCH_CALL_H

#include "fmgr.h"

#include "manager/consumer.h"

/* The greatest max_count. */
#define FETCH_MAX_COUNT 10000

typedef enum FetchOutcome
{
	FETCH_NOTHING, /* there is nothing for the consumer, and nothing was written */
	FETCH_PASSED,  /* nothing, but the cursors have passed what is not for it */
	FETCH_ROWS	   /* something was fetched */
} FetchOutcome;

typedef struct FetchCall
{
	ConsumerCall *consumer;
	int max_count;
	FunctionCallInfo fcinfo; /* whose result gets the rows */
} FetchCall;

#endif /* PM_FETCH_CALL_H */
