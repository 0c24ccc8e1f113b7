/*
 * seed.c
 *		Where a mark starts that is not known yet: at the furthest cursor.
 *
 * A log's mark is kept in shared memory or, for a log without a slot there, in
 * each backend.  Both are empty at first, and again when the slot was taken away.
 * But a cursor stands only where a mark once was.  So what the furthest cursor
 * has passed is settled, and readers have looked at least that far.  That is
 * looked up once; from then on the mark is kept up to date by those that look,
 * since cursors move up to marks only.
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
		 * looked at, slot_mark_seed() does nothing, and we start again.
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
