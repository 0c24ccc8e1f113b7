/*
 * partition_versions.c
 *		The last version of each stream in a partition.
 *
 * The index on (stream, version) has all that is needed, so the table is read only for pages that
 * are not all-visible in the visibility map.  The events of a short stream are read one by one.
 * To find the last event of a long stream, the index is searched for it.
 */
#include "pm.h"

#include "access/itup.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "log/partition_versions.h"

/* After this many events of a stream, its last event is searched for. */
#define PARTITION_VERSIONS_STEPS 32

static void
partition_versions_along(PartitionVersions *versions, ScanKey keys, int nkeys)
{
	if (versions->scan != NULL)
		index_endscan(versions->scan);
	versions->scan = compat_index_beginscan(versions->rel, versions->index, versions->snapshot,
											nkeys);
	versions->scan->xs_want_itup = true;
	index_rescan(versions->scan, keys, nkeys, NULL, 0);
}

/*
 * Makes the next visible event of the scan the current one.
 */
static bool
partition_versions_step(PartitionVersions *versions, ScanDirection direction)
{
	IndexScanDesc scan = versions->scan;
	ItemPointer tid;

	versions->more = false;
	while (!versions->more && (tid = index_getnext_tid(scan, direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		versions->more = VM_ALL_VISIBLE(versions->rel, ItemPointerGetBlockNumber(tid),
										&versions->map) ||
						 index_fetch_heap(scan, versions->slot);
	}
	if (versions->more)
	{
		bool isnull;

		versions->stream = index_getattr(scan->xs_itup, 1, scan->xs_itupdesc, &isnull);
		versions->version = DatumGetInt64(
			index_getattr(scan->xs_itup, 2, scan->xs_itupdesc, &versions->unnumbered));
	}
	return versions->more;
}

/*
 * Is the current event of this stream?
 */
static bool
partition_versions_is_of(PartitionVersions *versions, text *stream)
{
	text *other = DatumGetTextPP(versions->stream);
	bool same = VARSIZE_ANY_EXHDR(other) == VARSIZE_ANY_EXHDR(stream) &&
				memcmp(VARDATA_ANY(other), VARDATA_ANY(stream), VARSIZE_ANY_EXHDR(stream)) == 0;

	if ((Pointer) other != DatumGetPointer(versions->stream))
		pfree(other);
	return same;
}

static void
partition_versions_key(PartitionVersions *versions, ScanKey key, StrategyNumber strategy,
					   text *stream)
{
	ScanKeyEntryInitialize(key, 0, 1, strategy, InvalidOid, versions->index->rd_indcollation[0],
						   strategy == BTEqualStrategyNumber ? F_TEXTEQ : F_TEXT_GT,
						   PointerGetDatum(stream));
}

/*
 * Finds the last version of a long stream, and the first event after it.
 */
static void
partition_versions_skip(PartitionVersions *versions, text *stream, int64 *version)
{
	ScanKeyData keys[2];

	partition_versions_key(versions, &keys[0], BTEqualStrategyNumber, stream);
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNOTNULL, 2, InvalidStrategy, InvalidOid,
						   InvalidOid, InvalidOid, (Datum) 0);
	partition_versions_along(versions, keys, 2);
	if (partition_versions_step(versions, BackwardScanDirection))
		*version = versions->version;
	partition_versions_key(versions, &keys[0], BTGreaterStrategyNumber, stream);
	partition_versions_along(versions, keys, 1);
	(void) partition_versions_step(versions, ForwardScanDirection);
}

void
partition_versions_begin(PartitionVersions *versions, LogScan *scan)
{
	memset(versions, 0, sizeof(*versions));
	versions->rel = scan->rel;
	versions->index = scan->index;
	versions->snapshot = scan->snapshot;
	versions->slot = table_slot_create(scan->rel, NULL);
	versions->map = InvalidBuffer;
	partition_versions_along(versions, NULL, 0);
	(void) partition_versions_step(versions, ForwardScanDirection);
}

text *
partition_versions_next(PartitionVersions *versions, int64 *version)
{
	text *stream;
	int steps = 0;

	if (!versions->more)
		return NULL;
	stream = DatumGetTextPCopy(versions->stream);
	*version = 0;
	do
	{
		/* NULLs are last in the index. */
		if (!versions->unnumbered)
			*version = versions->version;
		if (++steps > PARTITION_VERSIONS_STEPS)
		{
			partition_versions_skip(versions, stream, version);
			break;
		}
		(void) partition_versions_step(versions, ForwardScanDirection);
	} while (versions->more && partition_versions_is_of(versions, stream));
	return stream;
}

void
partition_versions_end(PartitionVersions *versions)
{
	index_endscan(versions->scan);
	ExecDropSingleTupleTableSlot(versions->slot);
	if (BufferIsValid(versions->map))
		ReleaseBuffer(versions->map);
}
