/*
 * attempt.c
 *		Calls a function that may fail without ending the transaction.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/resowner.h"

#include "base/attempt.h"

/*
 * Is the error one about an object or a role?  Other errors (out of memory, a
 * canceled statement) concern the whole session.
 */
static bool
attempt_may_fail_by(ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_PRIVILEGE) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION);
}

/*
 * Does the error concern the whole session?
 */
static bool
attempt_must_fail_by(ErrorData *error)
{
	int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR);
}

/*
 * Calls act(arg) in a subtransaction.  Returns the error, or NULL.
 */
static ErrorData *
attempt_run(void (*act)(void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	/* What act() allocates is to outlive the subtransaction. */
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		act(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		/* Copied to memory that outlives the error state and the subtransaction. */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	/*
	 * The end of the subtransaction has set both of these to those of the parent
	 * transaction.
	 */
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

bool
attempt(void (*act)(void *), void *arg, ErrorData **error)
{
	*error = attempt_run(act, arg);
	if (*error != NULL && !attempt_may_fail_by(*error))
		ReThrowError(*error);
	return *error == NULL;
}

bool
attempt_any(void (*act)(void *), void *arg, ErrorData **error)
{
	*error = attempt_run(act, arg);
	if (*error != NULL && attempt_must_fail_by(*error))
		ReThrowError(*error);
	return *error == NULL;
}
