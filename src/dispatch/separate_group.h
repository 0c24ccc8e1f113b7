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
 * Handles or parks the next items.  False if the next one does not fit: then nothing has
 * been done.
 */
extern bool separate_group(HandleRun *run, SeparateAct act);

#endif /* PM_SEPARATE_GROUP_H */
