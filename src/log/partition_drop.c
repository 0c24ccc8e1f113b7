/*
 * partition_drop.c
 *		A partition that is about to be dropped or detached, or has been attached.
 *
 * A partition's events go with it, so it must not go before every follower has handled its
 * events, nor while one of them is parked.  The versions of its streams are kept, as pm.trim
 * keeps them.
 *
 * DETACH and DROP lock the log's table exclusively, and writers queue behind that lock.  So the
 * work that takes time is done before, if the partition is complete: if the mark is at or above
 * its highest position, no event can be added to it any more.  The lock itself is requested only
 * for short periods (lock_briefly.c).
 *
 * DETACH CONCURRENTLY does not block writers of the table, and ends when the transactions that
 * use the table have ended.  Only a complete partition may be detached in that way, so no event
 * can be added to it meanwhile.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/exec.h"
#include "log/append_id.h"
#include "log/held.h"
#include "log/highwater_ask.h"
#include "log/lock_briefly.h"
#include "log/log_catalog.h"
#include "log/log_open.h"
#include "log/log_scan.h"
#include "log/partition_drop.h"
#include "log/partition_versions.h"
#include "log/reply_to.h"
#include "log/sequence.h"
#include "log/stream_version.h"
#include "log/trimmed.h"

/* The versions of this many streams are kept by one statement. */
#define PARTITION_DROP_CHUNK 10000

/* Of one log, one session at a time drops or detaches partitions.  held_lock() has 0 here. */
#define PARTITION_DROP_ALONE 1

/* A partition that was dropped by another command than DROP TABLE, or with its log. */
typedef struct PartitionNoted
{
	char *leaf;
	char *log;
	Oid root;
	int64 from;
	int64 to;
} PartitionNoted;

static List *noted = NIL;	 /* in TopMemoryContext */
static List *released = NIL; /* partitions that partition_drop_before() has checked */

char *
partition_log_name(Oid root)
{
	LogRow row;
	char *name;

	if (get_rel_relkind(root) != RELKIND_PARTITIONED_TABLE ||
		!OidIsValid(exec_catalog_relid("log")))
		return NULL;
	name = log_catalog_name(root);
	return name != NULL && log_catalog_row(name, &row) && row.kind == LOG_PARTITIONED ? name : NULL;
}

/* ---------- the rows of a partition ---------- */

/*
 * Begins a scan of the partition alone, along an index that fits; false if there is none.
 */
static bool
partition_drop_scan(LogScan *scan, PmLog *log, Relation root, Relation leaf, LogScanFits fits)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	log_scan_begin(scan, log, root, leaf, snapshot);
	if (log_scan_choose(scan, fits))
		return true;
	log_scan_end(scan);
	UnregisterSnapshot(snapshot);
	return false;
}

static void
partition_drop_scan_end(LogScan *scan)
{
	Snapshot snapshot = scan->snapshot;

	log_scan_end(scan);
	UnregisterSnapshot(snapshot);
}

/*
 * The first or last position in the partition; false if it is empty.
 */
static bool
partition_drop_end_position(PmLog *log, Relation root, Relation leaf, ScanDirection direction,
							int64 *position)
{
	LogScan scan;
	bool found;

	if (!partition_drop_scan(&scan, log, root, leaf, log_scan_of_positions))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("partition \"%s\" of log \"%s\" has no index of its positions",
							   RelationGetRelationName(leaf), log->name)));
	log_scan_along(&scan, NULL, 0);
	found = log_scan_next(&scan, direction);
	if (found)
		*position = log_scan_position(&scan);
	partition_drop_scan_end(&scan);
	return found;
}

/*
 * Keeps the last version of each stream in the partition (trimmed.c).  Where a stream
 * continues, the version of its later events counts.
 */
static void
partition_drop_keep_versions(PmLog *log, Relation root, Relation leaf)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pm partition",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	Datum *streams = palloc(sizeof(Datum) * PARTITION_DROP_CHUNK);
	Datum *versions = palloc(sizeof(Datum) * PARTITION_DROP_CHUNK);
	PartitionVersions each;
	text *stream;
	int64 version;
	int count = 0;
	LogScan scan;

	if (!partition_drop_scan(&scan, log, root, leaf, stream_version_fits))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s\" of log \"%s\" has no index of its streams and versions",
						RelationGetRelationName(leaf), log->name)));
	MemoryContextSwitchTo(context);
	partition_versions_begin(&each, &scan);
	while ((stream = partition_versions_next(&each, &version)) != NULL)
	{
		streams[count] = PointerGetDatum(stream);
		versions[count] = Int64GetDatum(version);
		if (++count < PARTITION_DROP_CHUNK)
			continue;
		trimmed_keep(log->name, streams, versions, count);
		while (count > 0)
			pfree(DatumGetPointer(streams[--count]));
	}
	trimmed_keep(log->name, streams, versions, count);
	partition_versions_end(&each);
	MemoryContextSwitchTo(caller);
	partition_drop_scan_end(&scan);
	MemoryContextDelete(context);
}

static void
partition_drop_rows_between(PmLog *log, int64 from, int64 to)
{
	append_id_remove(log->name, from, to);
	reply_to_remove(log->name, from, to);
}

/*
 * Removes what else is stored about the partition's events.  The positions in a default
 * partition need not follow each other; those between them are in other partitions.
 */
static void
partition_drop_rows(PmLog *log, Relation root, Relation leaf, const PartitionLeaf *range)
{
	LogScan scan;
	int64 from = 0;
	int64 to = 0;
	bool any = false;

	if (range->from != PG_INT64_MIN || range->to != PG_INT64_MAX)
	{
		partition_drop_rows_between(log, range->from, range->to);
		return;
	}
	if (!partition_drop_scan(&scan, log, root, leaf, log_scan_of_positions))
		return;
	log_scan_along(&scan, NULL, 0);
	while (log_scan_next(&scan, ForwardScanDirection))
	{
		int64 position = log_scan_position(&scan);

		if (any && position != to + 1)
			partition_drop_rows_between(log, from, to);
		if (!any || position != to + 1)
			from = position;
		to = position;
		any = true;
	}
	if (any)
		partition_drop_rows_between(log, from, to);
	partition_drop_scan_end(&scan);
}

/* ---------- before it goes ---------- */

static void
partition_drop_refuse(PartitionEnd end, const char *leaf, const char *log, const Held *held)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					end == PARTITION_DROP ?
						errmsg("cannot drop partition \"%s\" of event log \"%s\"", leaf, log) :
						errmsg("cannot detach partition \"%s\" of event log \"%s\"", leaf, log),
					errdetail_internal("%s", held->detail), errhint("%s", held->hint)));
}

/*
 * Locks the log's table exclusively.  Writers that come meanwhile wait for one attempt only.
 */
static void
partition_drop_lock(Oid root)
{
	if (!lock_briefly(root, InvalidOid))
		LockRelationOid(root, AccessExclusiveLock);
}

/*
 * The range of a leaf; all positions if the leaf is not a range.
 */
static PartitionLeaf
partition_drop_range(Relation root, AttrNumber position, Oid leaf)
{
	const PartitionSet *set = partition_set(root, position);
	PartitionLeaf range = {leaf, PG_INT64_MIN, PG_INT64_MAX, InvalidOid};

	for (int i = 0; i < set->nranged; i++)
		if (set->leaves[i].relid == leaf)
			range = set->leaves[i];
	return range;
}

static void
partition_drop_from(PmLog *log, Relation root, Oid leafid, PartitionEnd end)
{
	PartitionLeaf range = partition_drop_range(root, log->attnum[EVENT_POSITION], leafid);
	Relation leaf = relation_open(leafid, AccessShareLock);
	char *name = pstrdup(RelationGetRelationName(leaf));
	bool complete = highwater_now(log->relid, log->seqid, HIGHWATER_EVERYBODY).mark >= range.to;
	int64 last;
	Held held;
	MemoryContext caller;

	if (end == PARTITION_DETACH_CONCURRENTLY && !complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot detach partition \"%s\" of event log \"%s\" concurrently", name,
						log->name),
				 errdetail("Events can still be appended to it, or a transaction that may have "
						   "appended to it has not ended."),
				 errhint("Detach it without CONCURRENTLY.")));
	/* Check this first, so that a call that must fail makes nobody wait. */
	if (partition_drop_end_position(log, root, leaf, BackwardScanDirection, &last) &&
		held_by(log->name, range.from, last, &held))
		partition_drop_refuse(end, name, log->name, &held);
	if (complete)
		partition_drop_keep_versions(log, root, leaf);
	if (end != PARTITION_DETACH_CONCURRENTLY)
	{
		partition_drop_lock(log->relid);
		LockRelationOid(leafid, AccessExclusiveLock);
		/* Now nobody writes, and followers have moved on. */
		if (partition_drop_end_position(log, root, leaf, BackwardScanDirection, &last) &&
			held_by(log->name, range.from, last, &held))
			partition_drop_refuse(end, name, log->name, &held);
		if (!complete)
			partition_drop_keep_versions(log, root, leaf);
	}
	partition_drop_rows(log, root, leaf, &range);
	relation_close(leaf, NoLock);
	caller = MemoryContextSwitchTo(TopMemoryContext);
	released = lappend_oid(released, leafid);
	MemoryContextSwitchTo(caller);
}

void
partition_drop_before(const char *name, Oid root, Oid leaf, PartitionEnd end)
{
	PmLog *log;
	Relation rel;

	highwater_require_fresh_snapshots(end == PARTITION_DROP ? "dropping a partition of a log" :
															  "detaching a partition of a log");
	/* Two that both held the log's table open would wait for each other. */
	LockDatabaseObject(exec_catalog_relid("log"), root, PARTITION_DROP_ALONE, ExclusiveLock);
	held_lock(root);
	log = log_lock(log_get(name, false), AccessShareLock);
	rel = relation_open(root, NoLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	partition_drop_from(log, rel, leaf, end);
	PopActiveSnapshot();
	relation_close(rel, NoLock);
	/* The command refuses to change a table of which a statement of this session is open. */
	CommandCounterIncrement();
}

/* ---------- after it has come ---------- */

void
partition_attached(const char *name, Oid root, Oid leafid)
{
	PmLog *log;
	Relation rel;
	Relation leaf;
	int64 first;
	int64 last;
	int64 slowest;
	int64 end;
	bool empty;

	CommandCounterIncrement();
	if (get_rel_relkind(leafid) != RELKIND_RELATION)
		return;
	held_lock(root);
	log = log_lock(log_get(name, false), AccessShareLock);
	rel = relation_open(root, NoLock);
	leaf = relation_open(leafid, AccessShareLock);
	empty = !partition_drop_end_position(log, rel, leaf, BackwardScanDirection, &last) ||
			!partition_drop_end_position(log, rel, leaf, ForwardScanDirection, &first);
	end = sequence_last(log->seqid);
	if (!empty && last > end)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot attach partition \"%s\" to event log \"%s\"",
						RelationGetRelationName(leaf), name),
				 errdetail("It has an event at position %lld, but the log's sequence is at %lld.",
						   (long long) last, (long long) end)));
	if (!empty && held_slowest(name, &slowest) && last > slowest)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot attach partition \"%s\" to event log \"%s\"",
						RelationGetRelationName(leaf), name),
				 errdetail("It has an event at position %lld. All followers have handled the "
						   "log only up to position %lld, and those that are further would "
						   "miss the event.",
						   (long long) last, (long long) slowest),
				 errhint("Wait until all followers are past it, or append the events again.")));
	relation_close(leaf, NoLock);
	relation_close(rel, NoLock);
}

/* ---------- dropped in another way ---------- */

void
partition_drop_note(Oid leaf)
{
	Oid root = partition_root(leaf);
	char *name = OidIsValid(root) && !list_member_oid(released, leaf) ? partition_log_name(root) :
																		NULL;
	PartitionNoted *note;
	PartitionLeaf range;
	MemoryContext caller;
	PmLog *log;
	Relation rel;

	if (name == NULL)
		return;
	log = log_get(name, true);
	/* The command locks it too, before it removes the partition. */
	rel = try_relation_open(root, AccessExclusiveLock);
	if (log == NULL || rel == NULL)
		return;
	range = partition_drop_range(rel, log->attnum[EVENT_POSITION], leaf);
	relation_close(rel, NoLock);
	caller = MemoryContextSwitchTo(TopMemoryContext);
	note = palloc0(sizeof(PartitionNoted));
	note->leaf = pstrdup(get_rel_name(leaf));
	note->log = pstrdup(name);
	note->root = root;
	note->from = range.from;
	note->to = range.to;
	/* Nothing has been appended after that.  If the log is dropped, its sequence may go first. */
	if (OidIsValid(log->seqid))
		note->to = Min(note->to, sequence_last(log->seqid));
	noted = lappend(noted, note);
	MemoryContextSwitchTo(caller);
}

void
partition_drop_check(void)
{
	List *notes = noted;
	ListCell *lc;

	noted = NIL;
	foreach(lc, notes)
	{
		PartitionNoted *note = lfirst(lc);
		Held held;

		if (get_rel_relkind(note->root) == '\0' || note->to < note->from)
			continue;
		if (held_by(note->log, note->from, note->to, &held))
			partition_drop_refuse(PARTITION_DROP, note->leaf, note->log, &held);
	}
	list_free_deep(notes);
}

void
partition_drop_forget(void)
{
	list_free(released);
	released = NIL;
	noted = NIL;
}
