/*
 * item_key.h
 *		The keys of an event, from what correlate has returned or from its stream.
 */
#ifndef PM_ITEM_KEY_H
#define PM_ITEM_KEY_H

#include "dispatch/batch_item.h"

/* Refuses an array of more keys than an event may have. */
extern void item_key_check(const BatchItem *item, NullableDatum keys);

/* The stream, as a key. */
extern NullableDatum item_key_stream(const BatchItem *item);

/* Would an item with this key be of its lane? */
extern bool item_key_is_ours(const BatchItem *item, NullableDatum key);

/*
 * Gives the item its key, or the keys in an array, as far as they are of its lane; it is
 * passed if there is none.  Uses the current memory context for a moment.
 */
extern void item_key_take(Keys *keys, BatchItem *item, NullableDatum key, bool array);

#endif /* PM_ITEM_KEY_H */
