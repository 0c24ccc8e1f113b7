/*
 * row_tid.c
 *		Remembers where this backend last saw rows of the private tables.
 *
 * While another session holds an old snapshot, each change of a row leaves a version
 * that cannot be removed.  An index scan visits all of these versions, so the n-th
 * change would cost n times as much as the first.  A remembered TID leads to the last
 * version of the row, or to one from which that can be found.
 *
 * A remembered TID is only a guess: several rows share an entry here, and other
 * backends move rows.  scan_at() checks it.
 */
#include "pm.h"

#include "common/hashfn.h"

#include "base/row_tid.h"

/* How many TIDs a backend remembers. */
#define ROW_TIDS 65536

ItemPointer
row_tid_of(RowTidTable table, const char *manager, int lane, const char *name)
{
	static ItemPointerData tids[ROW_TIDS];
	uint32 hash = murmurhash32((uint32) lane * 8 + (uint32) table);

	hash = hash_combine(hash, hash_bytes((const unsigned char *) manager, strlen(manager)));
	hash = hash_combine(hash, hash_bytes((const unsigned char *) name, strlen(name)));
	return &tids[hash % ROW_TIDS];
}
