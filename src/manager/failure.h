/*
 * failure.h
 *		What a failure says of itself: whether, and when, to try again.
 */
#ifndef PM_FAILURE_H
#define PM_FAILURE_H

#include "datatype/timestamp.h"
#include "utils/elog.h"

typedef enum FailureKind
{
	FAILURE_ORDINARY,  /* another try may succeed */
	FAILURE_PERMANENT, /* no further try can succeed */
	FAILURE_DEFERRED   /* no failure: the handler wants the event later */
} FailureKind;

typedef struct Failure
{
	FailureKind kind;
	TimestampTz until; /* of a deferral; or when to try again, 0: as the policy says */
} Failure;

/* Called before user's code is called. */
extern void failure_begin(void);

/* What an error that this code has raised says of itself. */
extern Failure failure_of(const ErrorData *error);

#endif /* PM_FAILURE_H */
