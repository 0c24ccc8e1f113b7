/*
 * attempt.h
 *		Calls a function that may fail without ending the transaction.
 */
#ifndef PM_ATTEMPT_H
#define PM_ATTEMPT_H

/*
 * Calls act(arg) in a subtransaction.  If it fails with an error about an object or a
 * role, what it did is undone, and attempt() returns false with the error.  Any other
 * error is thrown again.
 */
extern bool attempt(void (*act)(void *), void *arg, ErrorData **error);
/*
 * The same, but returns any error that does not concern the whole session.
 */
extern bool attempt_any(void (*act)(void *), void *arg, ErrorData **error);

#endif /* PM_ATTEMPT_H */
