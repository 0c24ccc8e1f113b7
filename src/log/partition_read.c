/*
 * partition_read.c
 *		Reads the events of a partitioned log by position, leaf after leaf.
 *
 * Leaves that are ranges of positions are read one after another, and each is opened only
 * when the one before has been read.  So what a batch costs does not depend on the number of
 * leaves.  Other leaves (a default partition, or those of a table that is partitioned by
 * something else) can have any positions: all of them are open, and their events and those of
 * the ranges are merged by position.
 */
#include "pm.h"

#include "access/table.h"
#include "utils/rel.h"

#include "log/log_trouble.h"
#include "log/partition_read.h"

void
partition_read_begin(PartitionRead *read, PmLog *log, Relation root, Snapshot snapshot, int64 after,
					 int64 up_to, bool wait)
{
	memset(read, 0, sizeof(*read));
	read->log = log;
	read->root = root;
	read->snapshot = snapshot;
	read->wait = wait;
	read->set = wait ? partition_set(root, log->attnum[EVENT_POSITION]) :
					   partition_set_nowait(root, log->attnum[EVENT_POSITION]);
	read->locked = read->set == NULL;
	read->after = after;
	read->up_to = up_to;
	read->number = -1;
}

/*
 * Opens a leaf.  False if it is gone: it was detached by ALTER TABLE ... CONCURRENTLY, so it
 * does not belong to the log any more.  Also false if it is locked, and "wait" is false.
 */
static bool
partition_read_open(PartitionRead *read, PartitionPart *part, const PartitionLeaf *leaf)
{
	Relation rel = read->wait ? partition_open(leaf, AccessShareLock) :
								partition_open_nowait(leaf, AccessShareLock, &read->locked);

	part->open = rel != NULL;
	if (rel == NULL)
		return false;
	log_scan_begin(&part->scan, read->log, read->root, rel, read->snapshot);
	if (!log_scan_choose(&part->scan, log_scan_of_positions))
	{
		LogTrouble trouble;

		log_trouble_no_index(&trouble, read->log);
		log_trouble_raise(&trouble);
	}
	return true;
}

static void
partition_read_close(PartitionPart *part)
{
	if (!part->open)
		return;
	log_scan_end(&part->scan);
	/* What was read stays valid without the lock, and a leaf is not in use for longer. */
	table_close(part->scan.rel, AccessShareLock);
	part->open = false;
}

static void
partition_read_close_loose(PartitionRead *read)
{
	for (int i = 0; i < read->nloose; i++)
		partition_read_close(&read->loose[i]);
	read->loose = NULL;
	read->nloose = 0;
}

/*
 * Opens all leaves that are not ranges, or none of them.
 */
static void
partition_read_open_loose(PartitionRead *read)
{
	const PartitionSet *set = read->set;

	if (read->loose != NULL || set->count == set->nranged)
		return;
	read->loose = palloc0(sizeof(PartitionPart) * (set->count - set->nranged));
	for (int i = set->nranged; i < set->count && !read->locked; i++)
		if (partition_read_open(read, &read->loose[read->nloose], &set->leaves[i]))
			read->nloose++;
	if (read->locked)
		partition_read_close_loose(read);
}

/* ---------- in the order of positions ---------- */

static bool
partition_read_fetch(PartitionRead *read, PartitionPart *part)
{
	if (!log_scan_next(&part->scan, read->direction))
		return false;
	if (read->heap != NULL)
		part->position = log_scan_position(&part->scan);
	return true;
}

/*
 * Opens the next leaf that is a range and may have events; false if there is none.
 */
static bool
partition_read_next_range(PartitionRead *read)
{
	const PartitionSet *set = read->set;
	int step = ScanDirectionIsForward(read->direction) ? 1 : -1;

	partition_read_close(&read->ranged);
	while (!read->ranged.open && !read->locked)
	{
		const PartitionLeaf *leaf;

		read->number += step;
		if (read->number < 0 || read->number >= set->nranged)
			return false;
		leaf = &set->leaves[read->number];
		if (step > 0 ? leaf->from > read->up_to : leaf->to <= read->after)
			return false;
		if (leaf->from <= read->up_to && leaf->to > read->after &&
			partition_read_open(read, &read->ranged, leaf))
			log_scan_between(&read->ranged.scan, read->after, read->up_to);
	}
	return !read->locked;
}

/*
 * Brings the next event of the leaves that are ranges into the slot.
 */
static bool
partition_read_fetch_ranged(PartitionRead *read)
{
	while (!read->ranged.open || !partition_read_fetch(read, &read->ranged))
		if (!partition_read_next_range(read))
			return false;
	return true;
}

static bool
partition_read_fetch_part(PartitionRead *read, PartitionPart *part)
{
	return part == &read->ranged ? partition_read_fetch_ranged(read) :
								   partition_read_fetch(read, part);
}

/*
 * The heap has the largest first, so this is the reverse of the order of reading.
 */
static int
partition_read_compare(Datum a, Datum b, void *arg)
{
	const PartitionPart *one = (PartitionPart *) DatumGetPointer(a);
	const PartitionPart *other = (PartitionPart *) DatumGetPointer(b);
	int order = one->position < other->position ? 1 : one->position > other->position ? -1 : 0;

	return ScanDirectionIsForward(((PartitionRead *) arg)->direction) ? order : -order;
}

static void
partition_read_start(PartitionRead *read, ScanDirection direction)
{
	const PartitionSet *set = read->set;

	read->begun = true;
	read->direction = direction;
	/* The leaf before the first one that is read. */
	if (ScanDirectionIsForward(direction))
		read->number = partition_from(set,
									  read->after == PG_INT64_MAX ? read->after : read->after + 1) -
					   1;
	else
		read->number = Min(partition_from(set, read->up_to) + 1, set->nranged);
	if (set->count == set->nranged)
		return;

	partition_read_open_loose(read);
	read->heap = binaryheap_allocate(read->nloose + 1, partition_read_compare, read);
	for (int i = 0; i < read->nloose; i++)
	{
		log_scan_between(&read->loose[i].scan, read->after, read->up_to);
		if (partition_read_fetch(read, &read->loose[i]))
			binaryheap_add_unordered(read->heap, PointerGetDatum(&read->loose[i]));
	}
	if (partition_read_fetch_ranged(read))
		binaryheap_add_unordered(read->heap, PointerGetDatum(&read->ranged));
	binaryheap_build(read->heap);
}

LogScan *
partition_read_next(PartitionRead *read, ScanDirection direction)
{
	bool first = !read->begun;

	if (read->locked)
		return NULL;
	if (first)
		partition_read_start(read, direction);
	if (read->heap == NULL)
		return partition_read_fetch_ranged(read) ? &read->ranged.scan : NULL;
	if (read->locked || binaryheap_empty(read->heap))
		return NULL;
	if (!first)
	{
		/* The event that was first has been read. */
		PartitionPart *part = (PartitionPart *) DatumGetPointer(binaryheap_first(read->heap));

		if (partition_read_fetch_part(read, part))
			binaryheap_replace_first(read->heap, PointerGetDatum(part));
		else
			(void) binaryheap_remove_first(read->heap);
		/* Events of the other leaves may come after those of one that is locked. */
		if (read->locked || binaryheap_empty(read->heap))
			return NULL;
	}
	return &((PartitionPart *) DatumGetPointer(binaryheap_first(read->heap)))->scan;
}

/* ---------- at given positions ---------- */

static bool
partition_read_has(PartitionPart *part, int64 position)
{
	log_scan_at(&part->scan, position);
	return log_scan_next(&part->scan, ForwardScanDirection);
}

LogScan *
partition_read_at(PartitionRead *read, int64 position)
{
	int number;

	if (read->set == NULL)
		return NULL;
	read->locked = false;
	number = partition_find(read->set, position);
	if (number >= 0 && (number != read->number || !read->ranged.open))
	{
		partition_read_close(&read->ranged);
		read->number = number;
		(void) partition_read_open(read, &read->ranged, &read->set->leaves[number]);
	}
	if (number >= 0 && read->ranged.open && partition_read_has(&read->ranged, position))
		return &read->ranged.scan;
	if (read->locked)
		return NULL;
	partition_read_open_loose(read);
	for (int i = 0; i < read->nloose; i++)
		if (partition_read_has(&read->loose[i], position))
			return &read->loose[i].scan;
	return NULL;
}

void
partition_read_end(PartitionRead *read)
{
	partition_read_close(&read->ranged);
	partition_read_close_loose(read);
	if (read->heap != NULL)
		binaryheap_free(read->heap);
}
