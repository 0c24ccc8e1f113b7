/*
 * attempt.h
 *		Something that may fail without ending the transaction.
 */
#ifndef PM_ATTEMPT_H
#define PM_ATTEMPT_H

extern bool attempt(void (*act)(void *), void *arg, ErrorData **error);

#endif /* PM_ATTEMPT_H */
