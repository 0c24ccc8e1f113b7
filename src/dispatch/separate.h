/*
 * separate.h
 *		Runs code in a subtransaction, so that its failure does not undo the batch.
 */
#ifndef PM_SEPARATE_H
#define PM_SEPARATE_H

#include "utils/elog.h"

#include "dispatch/handle_run.h"

/* At most this many IDs of subtransactions in a transaction. */
#define SEPARATE_IDS 60

/*
 * Calls act(arg) in a subtransaction.  Returns NULL or, if it failed, the error: then
 * what it did is undone, and the batch can continue.
 */
extern ErrorData *separate_try(Calls *calls, void (*act)(void *), void *arg);

/* May items of a batch that begins now have subtransactions? */
extern bool separate_has_room(void);

/* Does the transaction have as many IDs of subtransactions as it may have? */
extern void separate_begin(SeparateIds *ids);
extern bool separate_is_full(SeparateIds *ids);

#endif /* PM_SEPARATE_H */
