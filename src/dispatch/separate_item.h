/*
 * separate_item.h
 *		Handles an item in a subtransaction of its own, and parks it if it fails.
 */
#ifndef PM_SEPARATE_ITEM_H
#define PM_SEPARATE_ITEM_H

#include "dispatch/handle_run.h"

/*
 * Handles an item, by calling act(), in a subtransaction.  Returns true if it was
 * handled.  If it failed, it has been parked, or left for another batch.
 */
extern bool separate_item(HandleRun *run, BatchItem *item, void (*act)(HandleRun *, BatchItem *));

#endif /* PM_SEPARATE_ITEM_H */
