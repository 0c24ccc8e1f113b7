/*
 * batch_item.c
 *		One event or timer of a batch.
 */
#include "pm.h"

#include "dispatch/batch_item.h"
#include "shmem/crash.h"

void
batch_item_name(const BatchItem *item, Handling *handling)
{
	handling->source = item->source;
	handling->position = item->position;
	handling->id = item->id;
	if (item->log_name == NULL)
		handling->log[0] = '\0';
	/* It is usually the log of the previous item. */
	else if (strcmp(handling->log, item->log_name) != 0)
		strlcpy(handling->log, item->log_name, sizeof(handling->log));
	if (item->nkeys == 0 || item->key == NULL)
		handling->key[0] = '\0';
	else if (strcmp(handling->key, item->key->name) != 0)
		strlcpy(handling->key, item->key->name, sizeof(handling->key));
}

/*
 * If the server crashes before crash_unmark(), reading the item, computing its
 * key or setting it aside has crashed it.  An error, or the end of the session,
 * says nothing about the item.
 */
void
batch_item_crash_mark(const BatchTask *task, const BatchItem *item)
{
	static Handling handling; /* keeps the name of the log from call to call */

	if (!crash_marks())
		return;
	handling.manager = task->pm->id;
	handling.lane = task->lane;
	handling.lanes = task->pm->lanes;
	handling.outside = true;
	batch_item_name(item, &handling);
	crash_mark(&handling);
}
