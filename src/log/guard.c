/*
 * guard.c
 *		Restricts which positions a transaction may write into a log.
 *
 * The high-water mark (highwater.c) rests on one fact: a transaction that writes a
 * position at or below the sequence's last value L has held its lock on the table since
 * before L reached that position.  That is always true for a position that the identity
 * column draws.  It need not be true for a position that is given explicitly, by COPY
 * or by INSERT with OVERRIDING SYSTEM VALUE: such a position may come from an earlier
 * nextval(), or from a savepoint that was rolled back.  Nor need it be true for a
 * position from a session's cache, if the sequence has CACHE 10.  In these cases a
 * reader may be past the position when it is committed, and the event would be lost.
 *
 * So each log has a guard, a set of triggers and a check constraint, which the table's
 * owner cannot bypass either:
 *
 * - Before a statement writes, a trigger takes the transaction's floor.  That is the
 *	 last value of the sequence, or the highest one that a reader has seen, read when
 *	 the transaction already holds its lock in its own name (guard_hold()).  The two
 *	 differ if the sequence was set back.  The lock is held until the (sub)transaction
 *	 ends, so every position above the floor is safe.  If the subtransaction that took
 *	 the floor aborts, the lock may be gone.  Then the floor is forgotten, and the next
 *	 statement takes a new one.
 * - A check constraint compares every new position: it must be above the floor, and at
 *	 most the sequence's last value, since the sequence would draw a higher one again
 *	 later.  The constraint is NOT VALID, so it applies only to new rows, and pg_dump
 *	 restores it after the data.
 * - An update of a position is refused.  Any other update passes: the trigger tells the
 *	 check which old position it is about to see.  That is valid until the next
 *	 statement on the log or the end of a subtransaction.
 * - TRUNCATE is refused.
 *
 * A partitioned log has a row trigger in place of the check constraint (guard_row.c).
 *
 * The transaction also publishes the floor, once, as its hint: it writes nothing at or
 * below the floor.  A published hint is never raised, even if the floor was forgotten,
 * since a lower hint is safe.  And a new floor is never below the hint, even if the
 * sequence is.
 * The same trigger arranges that the log's readers are woken (wakeup.c).
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_sequence.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/relcache.h"
#include "log/appends.h"
#include "log/furthest.h"
#include "log/guard.h"
#include "log/guard_ddl.h"
#include "log/promotion.h"
#include "log/seed.h"
#include "log/sequence.h"
#include "shmem/slot.h"
#include "shmem/slot_hint.h"
#include "shmem/slot_mark.h"
#include "shmem/wakeup.h"

typedef struct GuardEntry
{
	Oid relid; /* hash key */
	Oid seqid;
	AttrNumber attnum;
	bool valid;	 /* seqid and attnum are known */
	bool seeded; /* for a log without a slot: "seed" is known */
	LogRef slot;
	int64 seed;			 /* the furthest cursor, as this transaction found it */
	TimeLineID timeline; /* the sequence needs no skip on this one (promotion.c) */

	/* The fields below belong to the transaction "lxid". */
	LocalTransactionId lxid;
	bool has_floor;
	SubTransactionId subid; /* that took the floor */
	int64 start;			/* the sequence's last value when the floor was taken */
	int64 floor;
	int64 ceiling;	  /* a last value seen: positions up to it have been drawn */
	int64 read_up_to; /* this transaction itself has handled events up to here */
	bool hinted;	  /* a hint has been published */
	int64 hint;		  /* the hint, if one has been published */
	bool updating;	  /* the next check is for the old position "updated" */
	int64 updated;
} GuardEntry;

static HTAB *entries = NULL;
uint64 guard_writes = 0;

/* The last transaction that took a floor; in others the end of a savepoint does not matter. */
static LocalTransactionId touched_lxid = InvalidLocalTransactionId;

PG_FUNCTION_INFO_V1(pm_guard_before_write);
PG_FUNCTION_INFO_V1(pm_guard_before_update);
PG_FUNCTION_INFO_V1(pm_guard_before_truncate);
PG_FUNCTION_INFO_V1(pm_guard_position_is_new);

static void
guard_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	GuardEntry *entry;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (relid == InvalidOid || relid == entry->relid || relid == entry->seqid)
			entry->valid = false;
}

/*
 * A floor does not outlive the abort of the subtransaction that took it, since the lock
 * may not outlive it either.  Subtransaction IDs increase, so every floor that was
 * taken inside the aborted subtransaction has its ID or a higher one.
 */
static void
guard_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
					   void *arg)
{
	HASH_SEQ_STATUS scan;
	GuardEntry *entry;

	if (event != SUBXACT_EVENT_ABORT_SUB || touched_lxid != compat_proc_lxid(MyProc))
		return;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		entry->updating = false;
		if (entry->has_floor && entry->subid >= mysubid)
			entry->has_floor = false;
	}
}

void
guard_install(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(GuardEntry);
	entries = hash_create("pm guard", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	relcache_watch(guard_relcache_callback);
	RegisterSubXactCallback(guard_subxact_callback, NULL);
}

/*
 * This backend's entry for a log.  The fields of an earlier transaction are reset.
 */
static GuardEntry *
guard_entry(Oid relid)
{
	/* The trigger, the check and pm.append ask for the same log repeatedly. */
	static GuardEntry *last = NULL;
	GuardEntry *entry = last;
	bool found;

	/* Entries are never removed, so the last one is still there. */
	if (entry == NULL || entry->relid != relid)
	{
		entry = hash_search(entries, &relid, HASH_ENTER, &found);
		if (!found)
		{
			memset((char *) entry + sizeof(Oid), 0, sizeof(GuardEntry) - sizeof(Oid));
			entry->lxid = InvalidLocalTransactionId;
		}
		last = entry;
	}
	if (entry->lxid != compat_proc_lxid(MyProc))
	{
		entry->lxid = compat_proc_lxid(MyProc);
		entry->has_floor = false;
		entry->hinted = false;
		entry->updating = false;
		entry->read_up_to = 0;
		entry->seeded = false;
	}
	return entry;
}

/*
 * Looks up the sequence and the column of positions, and checks that the constraint is
 * there.
 */
static void
guard_resolve(GuardEntry *entry, Relation rel)
{
	if (entry->valid)
		return;
	entry->seqid = sequence_of_log(rel, &entry->attnum);
	if (!OidIsValid(entry->seqid))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not an event log", RelationGetRelationName(rel)),
						errdetail("It has no column that is GENERATED ALWAYS AS IDENTITY."),
						errhint("Make a log with pm.create_log, or drop the trigger \"%s\".",
								GUARD_WRITE_TRIGGER)));
	guard_require_check(rel);
	entry->valid = true;
}

/*
 * Takes the writer's lock once more, for the (sub)transaction itself.  So far the lock
 * may belong to the portal of a cursor only.  If that failed in a subtransaction the lock
 * would be released, while rows that the portal wrote before the savepoint live on.
 */
static void
guard_hold(Oid relid)
{
	ResourceOwner caller = CurrentResourceOwner;

	CurrentResourceOwner = CurTransactionResourceOwner;
	LockRelationOid(relid, RowExclusiveLock);
	CurrentResourceOwner = caller;
}

/*
 * The highest position that readers have seen, as far as is known.  For a log without a
 * slot in shared memory, the cursors are looked up once in each transaction.
 */
static int64
guard_readers(GuardEntry *entry)
{
	int64 reached;

	if (seed_slot(entry->relid, &entry->slot, &reached))
	{
		slot_mark_used(entry->slot.slot);
		return reached;
	}
	if (!entry->seeded)
	{
		entry->seed = furthest_moved(entry->relid);
		entry->seeded = true;
	}
	return entry->seed;
}

/*
 * The caller's statement holds the writer's lock, and has drawn no position yet.
 */
void
guard_enter(Relation rel)
{
	GuardEntry *entry = guard_entry(RelationGetRelid(rel));

	Assert(CheckRelationLockedByMe(rel, RowExclusiveLock, true));
	guard_writes++;
	/* What an earlier statement was about to update does not matter to this one. */
	entry->updating = false;
	if (entry->has_floor)
		return;
	guard_resolve(entry, rel);
	/* Readers do not wait for such transactions (highwater.c), so they must not write. */
	if (MyProc->statusFlags & GUARD_NEVER_WRITES)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot write log \"%s\" in a vacuum, an automatic analyze or a concurrent "
						"index build",
						RelationGetRelationName(rel)),
				 errhint("Functions that index expressions call, for example, must not write.")));

	/* First the lock, and a skip after a promotion: only a position drawn after that is safe. */
	guard_hold(entry->relid);
	promotion_pass(&entry->timeline, entry->relid, entry->seqid);
	entry->start = sequence_last(entry->seqid);
	entry->floor = entry->start;
	entry->ceiling = entry->floor;

	/*
	 * If readers have seen a higher value of the sequence than it has now, the
	 * sequence was set back.  Nothing may be written up to that value: readers
	 * have read there already, or wait there for transactions to which we do
	 * not belong.  And nothing may be written at or below our published hint.
	 */
	entry->floor = Max(entry->floor, guard_readers(entry));
	if (entry->hinted)
		entry->floor = Max(entry->floor, entry->hint);
	/* If this subtransaction aborts, guard_subxact_callback() forgets the floor. */
	entry->subid = GetCurrentSubTransactionId();
	entry->has_floor = true;

	touched_lxid = entry->lxid;
	if (!entry->hinted)
	{
		entry->hinted = true;
		entry->hint = entry->floor;
		if (slot_preloaded())
			slot_hint_publish(entry->relid, entry->floor);
	}
	wakeup_log(entry->relid);
}

/*
 * This applies for the rest of the transaction, even if a savepoint is rolled back,
 * because the events that were read may have had effects already.
 */
void
guard_read_up_to(Oid relid, int64 mark)
{
	GuardEntry *entry = guard_entry(relid);

	entry->read_up_to = Max(entry->read_up_to, mark);
}

/*
 * Makes no entry.  Each relcache invalidation walks through all entries, and a session
 * may read many more logs than it writes.
 */
bool
guard_own_floor(Oid relid, int64 *floor)
{
	GuardEntry *entry = hash_search(entries, &relid, HASH_FIND, NULL);

	if (entry == NULL || entry->lxid != compat_proc_lxid(MyProc) || !entry->has_floor)
		return false;
	*floor = entry->floor;
	return true;
}

/* ---------- the triggers and the check ---------- */

static TriggerData *
guard_trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by trigger manager")));
	return (TriggerData *) fcinfo->context;
}

/*
 * BEFORE INSERT OR UPDATE OR DELETE FOR EACH STATEMENT.
 */
Datum
pm_guard_before_write(PG_FUNCTION_ARGS)
{
	TriggerData *data = guard_trigger_data(fcinfo);

	if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must fire before a statement", data->tg_trigger->tgname)));
	guard_enter(data->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		appends_note(RelationGetRelid(data->tg_relation));
	PG_RETURN_POINTER(NULL);
}

/*
 * BEFORE UPDATE FOR EACH ROW: refuses to change the position, and passes it to the
 * check, which could not tell an old position from a new one.
 */
Datum
pm_guard_before_update(PG_FUNCTION_ARGS)
{
	TriggerData *data = guard_trigger_data(fcinfo);
	GuardEntry *entry;
	bool isnull;
	int64 old_position;
	int64 new_position;

	if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" must fire before the update of a row",
							   data->tg_trigger->tgname)));

	entry = guard_entry(RelationGetRelid(data->tg_relation));
	guard_resolve(entry, data->tg_relation);
	old_position = DatumGetInt64(heap_getattr(data->tg_trigtuple, entry->attnum,
											  RelationGetDescr(data->tg_relation), &isnull));
	new_position = DatumGetInt64(heap_getattr(data->tg_newtuple, entry->attnum,
											  RelationGetDescr(data->tg_relation), &isnull));
	if (isnull || new_position != old_position)
		ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
						errmsg("cannot change the position of an event in log \"%s\"",
							   RelationGetRelationName(data->tg_relation)),
						errhint("Append a new event instead.")));
	entry->updating = true;
	entry->updated = old_position;
	PG_RETURN_POINTER(data->tg_newtuple);
}

/*
 * BEFORE TRUNCATE FOR EACH STATEMENT.
 */
Datum
pm_guard_before_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *data = guard_trigger_data(fcinfo);

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate event log \"%s\"", RelationGetRelationName(data->tg_relation)),
			 errhint("Delete old events with pm.trim, or remove the log with pm.drop_log first.")));
	PG_RETURN_POINTER(NULL);
}

/*
 * The hint depends on whether the sequence was set back: readers, or this transaction,
 * have seen a higher value than it had when the floor was taken, or has now.  The
 * position itself does not show it, since it need not have been drawn at all.
 */
COMPAT_NORETURN static void
guard_refuse(GuardEntry *entry, int64 position)
{
	char *name = get_rel_name(entry->relid);
	int64 seen = Max(entry->ceiling, Max(entry->floor, entry->read_up_to));
	bool set_back = entry->start < entry->floor || sequence_last(entry->seqid) < seen;

	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 errmsg("cannot write position %lld into log \"%s\"", (long long) position,
					name ? name : "?"),
			 errdetail(
				 "A position must be drawn from the log's sequence by the statement that inserts "
				 "the event; a reader may already be past any other."),
			 errhint("%s", guard_hint(entry->relid, entry->seqid, entry->attnum, seen, set_back))));
}

/*
 * The row is written without the check constraint, so do its work here.
 */
void
guard_drawn(Oid relid, int64 position)
{
	GuardEntry *entry = guard_entry(relid);

	Assert(entry->has_floor);
	if (position <= entry->floor || position <= entry->read_up_to)
		guard_refuse(entry, position);
	entry->ceiling = Max(entry->ceiling, position);
}

/* Raises an error unless the position is a new one. */
static void
guard_check_new(GuardEntry *entry, int64 position)
{
	if (position <= entry->floor || position <= entry->read_up_to)
		guard_refuse(entry, position);
	if (position > entry->ceiling)
	{
		/* The sequence has moved on since the last look. */
		entry->ceiling = sequence_last(entry->seqid);
		if (position > entry->ceiling)
			guard_refuse(entry, position);
	}
}

/*
 * For a row of a partition, which the trigger of the log's table has not seen if the partition
 * is the target of the statement.
 */
bool
guard_check_row(Oid root, int64 position)
{
	GuardEntry *entry = guard_entry(root);

	if (!entry->has_floor)
		return false;
	guard_check_new(entry, position);
	return true;
}

/*
 * The check: position_is_new(tableoid, position).  Returns true or raises an error.
 */
Datum
pm_guard_position_is_new(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	int64 position = PG_GETARG_INT64(1);
	GuardEntry *entry = guard_entry(relid);

	/* The row of an UPDATE has its old position; the trigger has checked that. */
	if (entry->updating)
	{
		entry->updating = false;
		if (position == entry->updated)
			PG_RETURN_BOOL(true);
	}
	if (!entry->has_floor)
		guard_refuse_untriggered(relid);
	guard_check_new(entry, position);
	PG_RETURN_BOOL(true);
}
