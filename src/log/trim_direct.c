/*
 * trim_direct.c
 *		Deletes the oldest events of a log without a DELETE.
 *
 * A session that plans and runs a DELETE also runs what the table's owner has
 * attached to the table: triggers, and the functions of index expressions and
 * predicates.  Whatever role they run as, they could fetch from the session's
 * cursors, release its advisory locks, and execute its prepared statements.  So
 * events are deleted along the index of positions, and only PostgreSQL's own code is
 * called (log_index.c).
 *
 * A DELETE would do nothing else if the table has no rule for DELETE, and no
 * trigger except the guard's, whose work is done here.  A foreign key that
 * refers to the table has such a trigger.
 */
#include "pm.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "log/guard.h"
#include "log/guard_ddl.h"
#include "log/log_audit.h"
#include "log/log_read.h"
#include "log/replica_check.h"
#include "log/replica_origin.h"
#include "log/trim_direct.h"
#include "log/trimmed.h"

/* After this many events, the streams that have none left are looked up. */
#define TRIM_DIRECT_CHUNK 1000

/* A stream of which an event was deleted. */
typedef struct TrimStream
{
	text *name;
	int64 version; /* 0: it had none */
} TrimStream;

typedef struct TrimDirect
{
	PmLog *log;
	LogIndexScan scan;
	Oid table;				 /* that was prepared last */
	TupleTableSlot *updated; /* the current version of an event that was updated */
	Oid updated_of;			 /* the table to whose rows that slot fits */
	MemoryContext context;	 /* of what follows */
	TrimStream streams[TRIM_DIRECT_CHUNK];
	int nstreams;
	AttrNumber origin; /* in a replica log: the column of the publisher's positions */
	ReplicaOrigins origins;
} TrimDirect;

/* ---------- what else a DELETE would run ---------- */

static const char *
trim_direct_rule(Relation rel)
{
	for (int i = 0; rel->rd_rules != NULL && i < rel->rd_rules->numLocks; i++)
		if (rel->rd_rules->rules[i]->event == CMD_DELETE)
			return "The table has a rule for DELETE.";
	return NULL;
}

static const char *
trim_direct_trigger(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger *trigger = &desc->triggers[i];

		if (!TRIGGER_FOR_DELETE(trigger->tgtype) || trigger->tgenabled == TRIGGER_DISABLED ||
			strcmp(trigger->tgname, GUARD_WRITE_TRIGGER) == 0 ||
			replica_is_trigger(trigger->tgname))
			continue;
		/* Name the foreign key's table: its triggers on ours have names made up by PostgreSQL. */
		if (trigger->tgisinternal && OidIsValid(trigger->tgconstrrelid))
			return psprintf("A foreign key of table \"%s\" refers to it.",
							get_rel_name(trigger->tgconstrrelid));
		return psprintf("The table has trigger \"%s\" for DELETE.", trigger->tgname);
	}
	return NULL;
}

/*
 * Rules of partitions do not count when rows are deleted through the log's table.
 */
static const char *
trim_direct_leaves(Relation root, AttrNumber position)
{
	const PartitionSet *set = partition_set(root, position);
	const char *obstacle = NULL;

	for (int i = 0; i < set->count && obstacle == NULL; i++)
	{
		Relation leaf = partition_open(&set->leaves[i], AccessShareLock);

		if (leaf == NULL)
			continue;
		obstacle = trim_direct_trigger(leaf);
		table_close(leaf, AccessShareLock);
	}
	return obstacle;
}

/*
 * Assumes that the log has no problem: then a trigger with the guard's name is
 * the guard's.
 */
const char *
trim_direct_obstacle(PmLog *log)
{
	Relation rel = table_open(log->relid, NoLock);
	const char *obstacle = trim_direct_rule(rel);

	if (obstacle == NULL)
		obstacle = trim_direct_trigger(rel);
	if (obstacle == NULL && log->partitioned)
		obstacle = trim_direct_leaves(rel, log->attnum[EVENT_POSITION]);
	table_close(rel, NoLock);
	return obstacle;
}

/* ---------- which streams have no events left ---------- */

static int
trim_direct_compare(const void *a, const void *b)
{
	const TrimStream *one = a;
	const TrimStream *other = b;
	Size size = VARSIZE(one->name);
	int order;

	/* Any order that brings equal names together is good enough. */
	if (size != VARSIZE(other->name))
		return size < VARSIZE(other->name) ? -1 : 1;
	order = memcmp(one->name, other->name, size);
	if (order != 0)
		return order;
	/* The last version first. */
	return one->version > other->version ? -1 : one->version < other->version ? 1 : 0;
}

/*
 * Leaves each stream once, with its last version.
 */
static void
trim_direct_unique(TrimDirect *trim)
{
	TrimStream *streams = trim->streams;
	int count = 0;

	qsort(streams, trim->nstreams, sizeof(TrimStream), trim_direct_compare);
	for (int i = 0; i < trim->nstreams; i++)
	{
		text *name = streams[i].name;

		if (count > 0 && VARSIZE(streams[count - 1].name) == VARSIZE(name) &&
			memcmp(streams[count - 1].name, name, VARSIZE(name)) == 0)
			continue;
		streams[count++] = streams[i];
	}
	trim->nstreams = count;
}

/*
 * Keeps the versions of the streams that have no events left (trimmed.c), among
 * those noted so far.
 */
static void
trim_direct_keep(TrimDirect *trim)
{
	MemoryContext caller = MemoryContextSwitchTo(trim->context);
	Datum streams[TRIM_DIRECT_CHUNK];
	Datum versions[TRIM_DIRECT_CHUNK];
	bool goes_on[TRIM_DIRECT_CHUNK];
	int count = 0;

	trim_direct_unique(trim);
	for (int i = 0; i < trim->nstreams; i++)
	{
		streams[i] = PointerGetDatum(trim->streams[i].name);
		versions[i] = Int64GetDatum(trim->streams[i].version);
	}
	log_read_ends(trim->log, streams, versions, trim->nstreams, goes_on);
	for (int i = 0; i < trim->nstreams; i++)
		if (!goes_on[i])
		{
			streams[count] = streams[i];
			versions[count++] = versions[i];
		}
	trimmed_keep(trim->log->name, streams, versions, count);
	trim->nstreams = 0;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(trim->context);
}

/*
 * Notes the stream of a deleted event, and its position at the publisher.
 */
static void
trim_direct_note(TrimDirect *trim, TupleTableSlot *slot)
{
	AttrNumber *attnum = trim->scan.at->attnum;
	TrimStream *stream = &trim->streams[trim->nstreams];
	MemoryContext caller;
	Datum value;
	bool isnull;

	if (trim->origin != InvalidAttrNumber)
		replica_origin_note(&trim->origins, trim->log->relid,
							DatumGetInt64(slot_getattr(slot, trim->origin, &isnull)));
	value = slot_getattr(slot, attnum[EVENT_STREAM], &isnull);
	if (isnull)
		return;
	caller = MemoryContextSwitchTo(trim->context);
	stream->name = DatumGetTextPCopy(value);
	MemoryContextSwitchTo(caller);
	value = slot_getattr(slot, attnum[EVENT_VERSION], &isnull);
	stream->version = isnull ? 0 : DatumGetInt64(value);
	trim->nstreams++;
}

/* ---------- deleting ---------- */

static TM_Result
trim_direct_delete_at(TrimDirect *trim, ItemPointer tid, TM_FailureData *failure)
{
	return compat_table_delete(trim->scan.at->rel, tid, GetCurrentCommandId(true),
							   trim->scan.snapshot, InvalidSnapshot, true, failure);
}

static void
trim_direct_make_slot(TrimDirect *trim, Relation rel)
{
	if (trim->updated != NULL)
		if (trim->updated != NULL)
			ExecDropSingleTupleTableSlot(trim->updated);
	trim->updated = table_slot_create(rel, NULL);
	trim->updated_of = RelationGetRelid(rel);
}

/*
 * Deletes the event at which the scan is.  If another transaction has updated it
 * since, the new version is deleted, as a DELETE under READ COMMITTED would do.
 * Returns what was deleted, or NULL if the event was gone.
 */
static TupleTableSlot *
trim_direct_delete(TrimDirect *trim)
{
	Relation rel = trim->scan.at->rel;
	TupleTableSlot *slot = trim->scan.at->slot;
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData failure;
	TM_Result result = trim_direct_delete_at(trim, &tid, &failure);

	if (result == TM_Updated)
	{
		/* Wait for the other transaction, and lock the new version of the event. */
		if (trim->updated_of != RelationGetRelid(rel))
			trim_direct_make_slot(trim, rel);
		slot = trim->updated;
		result = table_tuple_lock(rel, &tid, trim->scan.snapshot, slot, GetCurrentCommandId(true),
								  LockTupleExclusive, LockWaitBlock,
								  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
		if (result == TM_Ok)
			result = trim_direct_delete_at(trim, &slot->tts_tid, &failure);
	}
	if (result == TM_Ok)
		return slot;
	/* The event is gone: another transaction has deleted it, or this one already has. */
	if (result != TM_Deleted && result != TM_SelfModified)
		elog(ERROR, "unexpected result of deleting an event of log \"%s\": %d", trim->log->name,
			 result);
	return NULL;
}

/*
 * Prepares to delete from the table at which the scan is, once for each partition.
 */
static void
trim_direct_check_table(TrimDirect *trim)
{
	Relation rel = trim->scan.at->rel;

	if (trim->table == RelationGetRelid(rel))
		return;
	trim->table = RelationGetRelid(rel);
	/* The scan keeps its lock only for as long as it reads the table. */
	LockRelationOid(trim->table, RowExclusiveLock);
	/* If the table is published, a subscriber must be able to find the row. */
	CheckCmdReplicaIdentity(rel, CMD_DELETE);
}

/*
 * Assumes that the log is locked for writing, that the rights have been checked,
 * and that there is no obstacle.
 */
int64
trim_direct(PmLog *log, int64 up_to, int64 max_count)
{
	TrimDirect *trim = palloc0(sizeof(TrimDirect));
	int64 deleted = 0;

	log_audit(log, ACL_SELECT | ACL_DELETE);
	/* What this transaction has written so far is deleted too. */
	CommandCounterIncrement();
	if (!log_index_begin_positions(&trim->scan, log, PG_INT64_MIN, up_to))
		log_index_refuse(log);
	guard_enter(trim->scan.root);
	trim->log = log;
	if (log->kind == LOG_REPLICA)
		trim->origin = replica_origin_column(trim->scan.root);
	trim->context = AllocSetContextCreate(CurrentMemoryContext, "pm trim", ALLOCSET_DEFAULT_SIZES);
	while (deleted < max_count && log_index_next(&trim->scan, ForwardScanDirection))
	{
		TupleTableSlot *slot;

		trim_direct_check_table(trim);
		slot = trim_direct_delete(trim);
		if (slot == NULL)
			continue;
		deleted++;
		trim_direct_note(trim, slot);
		if (trim->nstreams == TRIM_DIRECT_CHUNK)
			trim_direct_keep(trim);
	}
	trim_direct_keep(trim);
	replica_origin_keep(&trim->origins, log->relid);
	MemoryContextDelete(trim->context);
	if (trim->updated != NULL)
		ExecDropSingleTupleTableSlot(trim->updated);
	log_index_end(&trim->scan);
	pfree(trim);
	CommandCounterIncrement();
	return deleted;
}
