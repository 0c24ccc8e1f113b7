/*
 * separate.h
 *		Handles an item in a subtransaction of its own, so that its failure undoes nothing else.
 */
#ifndef PM_SEPARATE_H
#define PM_SEPARATE_H

#include "utils/elog.h"

#include "dispatch/call.h"

/*
 * Calls act(arg) in a subtransaction.  Returns NULL or, if it failed, the error: then
 * what it did is undone, and the batch can go on.
 */
extern ErrorData *separate_try(Calls *calls, void (*act)(void *), void *arg);

#endif /* PM_SEPARATE_H */
