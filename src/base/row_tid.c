/*
 * row_tid.c
 *		Where private rows were when this backend saw them last.
 *
 * While another session holds a snapshot, each change of a row leaves a
 * version that cannot be removed, and an index leads to all of them: the n-th
 * change would cost n times the first.  A place leads to the last version, or
 * to one that it follows.  It is only a guess: several rows share a place, and
 * other backends move rows.  scan_at() finds out.
 */
#include "pm.h"

#include "common/hashfn.h"

#include "base/row_tid.h"

/* A backend remembers this many. */
#define PLACES 4096

/*
 * The place of a row with this key; not valid if nothing is known.
 */
ItemPointer
row_tid_of(RowTidTable table, const char *manager, int lane, const char *name)
{
	static ItemPointerData places[PLACES];
	uint32 hash = murmurhash32((uint32) lane * 4 + (uint32) table);

	hash = hash_combine(hash, hash_bytes((const unsigned char *) manager, strlen(manager)));
	hash = hash_combine(hash, hash_bytes((const unsigned char *) name, strlen(name)));
	return &places[hash % PLACES];
}
