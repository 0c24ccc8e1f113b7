/*
 * fetch_key.h
 *		The keys of the events that a consumer fetches.
 */
#ifndef PM_FETCH_KEY_H
#define PM_FETCH_KEY_H

#include "dispatch/batch.h"

/*
 * Finds out the keys of the events of a batch, and which of them are not for this unit.
 * Returns how many events are known then; if not all, correlate has failed at the next
 * one, with *error.
 */
extern int fetch_keys(Batch *batch, ErrorData **error);

/* Raises an error of correlate that says nothing about the event. */
extern void fetch_key_check(ProcessManager *pm, ErrorData *error);

#endif /* PM_FETCH_KEY_H */
