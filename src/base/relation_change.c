/*
 * relation_change.c
 *		Remembers which relations have changed recently.
 *
 * Code that reads the catalog rows of many relations with one snapshot, and keeps what they
 * say until an invalidation arrives, must not miss invalidations that arrive while the rows
 * are being read.  So the last invalidations are kept here: what was read about a relation
 * is kept only if none of them concerned it.  That is correct if no lock is taken between
 * this check and the moment from which on the callback can find what is kept.
 */
#include "pm.h"

#include "base/relation_change.h"

/* The number of invalidations that are remembered.  After more, any relation may have changed. */
#define RELATION_CHANGES 256

static Oid changes[RELATION_CHANGES];
static uint64 count = 0; /* of all changes so far */

void
relation_change_note(Oid relid)
{
	changes[count++ % RELATION_CHANGES] = relid;
}

uint64
relation_change_point(void)
{
	return count;
}

bool
relation_change_since(uint64 point, Oid relid)
{
	if (count - point > RELATION_CHANGES)
		return true;
	for (uint64 i = point; i < count; i++)
		if (changes[i % RELATION_CHANGES] == relid || changes[i % RELATION_CHANGES] == InvalidOid)
			return true;
	return false;
}
