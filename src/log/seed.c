/*
 * seed.c
 *		Initializes a mark that is not known yet, from the furthest cursor.
 *
 * A log's mark is kept in shared memory or, for a log without a slot there, in
 * each backend.  Both are empty at first, and again when the slot was taken away.
 * But cursors are only moved up to marks.  So everything up to the furthest
 * cursor is settled, and readers have seen at least that position.  The furthest
 * cursor is looked up once; from then on each reader that computes the mark keeps
 * it up to date.
 */
#include "pm.h"

#include "log/furthest.h"
#include "log/generations.h"
#include "log/seed.h"
#include "shmem/slot_log.h"
#include "shmem/slot_mark.h"

bool
seed_slot(Oid relid, LogRef *ref, int64 *reached)
{
	int64 mark;

	for (;;)
	{
		if (!slot_log_valid(ref))
			slot_log_ref(relid, true, ref);
		if (ref->slot == NULL)
			return false;
		if (slot_mark_read(ref, &mark, reached))
			return true;

		/*
		 * The slot is new.  If it is given to another log while the cursors are
		 * read, slot_mark_seed() does nothing, and we start again.
		 */
		slot_mark_seed(ref->slot, relid, furthest_cursor(relid, false), furthest_moved(relid));
		CHECK_FOR_INTERRUPTS();
	}
}

Generations *
seed_local(Oid relid)
{
	bool *seeded;
	Generations *generations = generations_local(relid, 0, &seeded);

	if (!*seeded)
	{
		generations->mark = Max(generations->mark, furthest_cursor(relid, false));
		generations->reached = Max(Max(generations->reached, generations->mark),
								   furthest_moved(relid));
		*seeded = true;
	}
	return generations;
}
