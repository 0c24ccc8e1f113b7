/*
 * finished.c
 *		The instances that consumers have ended in this transaction.
 *
 * pm.finish is called before pm.advance, which writes the entries of the journal.  So when
 * the event that has led to the end of an instance gets its entry, the instance no longer
 * exists.  What the entry needs of the instance is kept here until the transaction ends.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "manager/finished.h"

static List *finished = NIL; /* of Finished, in TopTransactionContext; the last one first */

static void
finished_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		finished = NIL;
}

/*
 * IDs of subtransactions increase, so those inside the one that is undone have higher IDs.
 */
static void
finished_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
						  void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (finished != NIL && ((Finished *) linitial(finished))->subid >= mysubid)
		finished = list_delete_first(finished);
}

void
finished_install(void)
{
	RegisterXactCallback(finished_xact_callback, NULL);
	RegisterSubXactCallback(finished_subxact_callback, NULL);
}

void
finished_add(const ProcessManager *pm, const Key *key)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Finished *one = palloc(sizeof(Finished));

	one->manager = pm->id;
	one->key = pstrdup(key->name);
	one->started_at = key->started_at;
	one->entries = key->entries;
	one->subid = GetCurrentSubTransactionId();
	finished = lcons(one, finished);
	MemoryContextSwitchTo(caller);
}

Finished *
finished_find(const ProcessManager *pm, const char *key)
{
	ListCell *lc;

	foreach(lc, finished)
	{
		Finished *one = lfirst(lc);

		if (one->manager == pm->id && strcmp(one->key, key) == 0)
			return one;
	}
	return NULL;
}

/*
 * If a subtransaction has begun since the last entry, it counts in a copy of its own,
 * so that the count is as before if the subtransaction is undone.
 */
int64
finished_count(Finished *one)
{
	if (one->subid != GetCurrentSubTransactionId())
	{
		MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
		Finished *copy = palloc(sizeof(Finished));

		*copy = *one;
		copy->subid = GetCurrentSubTransactionId();
		finished = lcons(copy, finished);
		one = copy;
		MemoryContextSwitchTo(caller);
	}
	return ++one->entries;
}
