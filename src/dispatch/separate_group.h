/*
 * separate_group.h
 *		Handles the next items of a batch, several in one subtransaction.
 */
#ifndef PM_SEPARATE_GROUP_H
#define PM_SEPARATE_GROUP_H

#include "dispatch/separate_item.h"

/* At most this many items share a subtransaction. */
#define SEPARATE_GROUP 20

/*
 * Handles or parks the next items.  Returns false, and does nothing, if the next one cannot
 * share a subtransaction.
 */
extern bool separate_group(HandleRun *run, SeparateAct act);

#endif /* PM_SEPARATE_GROUP_H */
