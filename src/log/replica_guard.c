/*
 * replica_guard.c
 *		The triggers that put the events of a subscription into a replica log.
 *
 * Logical replication finds columns by their names, so the publisher's position arrives in the
 * column "position".  It cannot be the position here: events arrive in the order of their commits,
 * not of their positions, so a reader that has passed position 7 would lose 6.  So a trigger moves
 * the publisher's position to the column "origin_position", and draws a new position, that of
 * arrival.  From then on the log is like one that is written here.
 *
 * The worker that applies changes fires row triggers, but no statement triggers.  It holds its lock
 * on the table until the end of its transaction, and the row trigger takes the floor (guard.c)
 * before it draws.  So the mark's conditions hold (highwater.c).
 *
 * An event can arrive twice: when a subscription is dropped and created again, its initial copy
 * brings all events of the publisher.  An event whose publisher's position is known here is left
 * out.  If that position belongs to another event here, the publisher has used it twice, or two
 * publishers write this log.  That is an error, because leaving the event out would lose it.
 *
 * If the publication also has updates and deletes, these are left out.  PostgreSQL looks for the
 * row by the publisher's position, but in the column "position" of this table, so it would find
 * the row of another event.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/relcache.h"
#include "log/guard.h"
#include "log/guard_ddl.h"
#include "log/log.h"
#include "log/replica_check.h"
#include "log/replica_copy.h"
#include "log/replica_guard.h"
#include "log/replica_origin.h"
#include "log/sequence.h"

/* What this backend knows of the table of a replica log. */
typedef struct ReplicaTable
{
	Oid relid; /* hash key */
	bool valid;
	Oid seqid;
	AttrNumber position;
	AttrNumber origin;
	AttrNumber compared[3]; /* stream, version, recorded_at */
	Oid index;				/* unique, on the publisher's position */
} ReplicaTable;

static HTAB *tables = NULL;
static uint64 invalidations = 0;

PG_FUNCTION_INFO_V1(pm_replica_begin);
PG_FUNCTION_INFO_V1(pm_replica_row);
PG_FUNCTION_INFO_V1(pm_replica_end);

static void
replica_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	ReplicaTable *table;

	invalidations++;
	hash_seq_init(&scan, tables);
	while ((table = hash_seq_search(&scan)) != NULL)
		if (relid == InvalidOid || relid == table->relid)
			table->valid = false;
}

static void
replica_require_columns(Relation rel, const ReplicaTable *table)
{
	bool found = OidIsValid(table->seqid) && OidIsValid(table->index);

	for (int i = 0; i < lengthof(table->compared); i++)
		found = found && table->compared[i] != InvalidAttrNumber;
	if (!found)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" does not have the columns and the index of a replica log",
					RelationGetRelationName(rel)),
			 errhint("As the table's owner, run SELECT pm.create_replica_log(name) FROM pm.log "
					 "WHERE \"table\" = %s::regclass: it puts back what is missing, or says what "
					 "is wrong.",
					 quote_literal_cstr(guard_qualified_name(RelationGetRelid(rel))))));
}

static ReplicaTable *
replica_entry(Oid relid)
{
	ReplicaTable *table;
	bool found;

	if (tables == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(ReplicaTable);
		tables = hash_create("pm replica logs", 16, &ctl, HASH_ELEM | HASH_BLOBS);
		relcache_watch(replica_relcache_callback);
	}
	table = hash_search(tables, &relid, HASH_ENTER, &found);
	if (!found)
		table->valid = false;
	return table;
}

/*
 * Looks up the table.  An error if it is not as a replica log must be, so that no trigger does
 * its part of the work if another one does not.
 */
static ReplicaTable *
replica_table(Relation rel)
{
	ReplicaTable *table = replica_entry(RelationGetRelid(rel));
	uint64 seen = invalidations;

	if (table->valid)
		return table;
	table->seqid = sequence_of_log(rel, &table->position);
	table->origin = replica_origin_column(rel);
	table->compared[0] = replica_column(rel, log_columns[EVENT_STREAM].name, TEXTOID);
	table->compared[1] = replica_column(rel, log_columns[EVENT_VERSION].name, INT8OID);
	table->compared[2] = replica_column(rel, log_columns[EVENT_RECORDED_AT].name, TIMESTAMPTZOID);
	table->index = replica_origin_index(rel);
	replica_require_columns(rel, table);
	replica_require_triggers(rel);
	/* An invalidation that arrived meanwhile may concern it. */
	table->valid = seen == invalidations;
	return table;
}

/* ---------- is the event known? ---------- */

/*
 * Two events with the same position at the publisher are the same one if they agree in what
 * nobody changes.  Data may have been corrected or erased on one side.
 */
static bool
replica_same(ReplicaTable *table, HeapTuple tuple, TupleDesc desc, TupleTableSlot *slot)
{
	for (int i = 0; i < lengthof(table->compared); i++)
	{
		AttrNumber attnum = table->compared[i];
		Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);
		bool here_null;
		bool there_null;
		Datum there = heap_getattr(tuple, attnum, desc, &there_null);
		Datum here = slot_getattr(slot, attnum, &here_null);

		if (here_null != there_null)
			return false;
		if (here_null)
			continue;
		if (att->attlen == -1)
		{
			struct varlena *one = PG_DETOAST_DATUM_PACKED(here);
			struct varlena *other = PG_DETOAST_DATUM_PACKED(there);

			if (VARSIZE_ANY_EXHDR(one) != VARSIZE_ANY_EXHDR(other) ||
				memcmp(VARDATA_ANY(one), VARDATA_ANY(other), VARSIZE_ANY_EXHDR(one)) != 0)
				return false;
		}
		else if (DatumGetInt64(here) != DatumGetInt64(there))
			return false;
	}
	return true;
}

COMPAT_NORETURN static void
replica_refuse_other(Relation rel, ReplicaTable *table, int64 origin, TupleTableSlot *slot)
{
	bool isnull;
	int64 position = DatumGetInt64(slot_getattr(slot, table->position, &isnull));

	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("the event at position %lld of the publisher differs from that event in "
					"replica log \"%s\"",
					(long long) origin, RelationGetRelationName(rel)),
			 errdetail("Here that event is at position %lld. Its stream, version or recorded_at is "
					   "different.",
					   (long long) position),
			 errhint(
				 "Either two publishers fill this log, or the publisher has lost events and has "
				 "used their positions again.")));
}

/*
 * Is there an event with this position at the publisher?  A new snapshot is taken for each event,
 * because another subscription may just have committed the same event.
 */
static bool
replica_has(Relation rel, ReplicaTable *table, int64 origin, HeapTuple tuple)
{
	Relation index = index_open(table->index, AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = compat_index_beginscan(rel, index, snapshot, 1);
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(origin));
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found && !replica_same(table, tuple, RelationGetDescr(rel), slot))
		replica_refuse_other(rel, table, origin, slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	return found;
}

bool
replica_admit(Relation rel, HeapTuple tuple, int64 *position)
{
	ReplicaTable *table = replica_table(rel);
	bool isnull;
	int64 origin = DatumGetInt64(
		heap_getattr(tuple, table->position, RelationGetDescr(rel), &isnull));

	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
						errmsg("an event without a position arrives in replica log \"%s\"",
							   RelationGetRelationName(rel)),
						errhint("The publication must have the column \"%s\".",
								log_columns[EVENT_POSITION].name)));
	/*
	 * The log first: pm.trim removes an event from there and adds it to those that were trimmed, in
	 * one transaction.  In the other order, both looks could miss it.
	 */
	if (replica_has(rel, table, origin, tuple) ||
		replica_origin_trimmed(RelationGetRelid(rel), origin))
		return false;

	/* The floor must be taken before the position is drawn. */
	guard_enter(rel);
	*position = nextval_internal(table->seqid, false);
	guard_drawn(RelationGetRelid(rel), *position);
	return true;
}

/* ---------- the triggers ---------- */

COMPAT_NORETURN static void
replica_refuse_protocol(TriggerData *data)
{
	ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					errmsg("trigger \"%s\" must be as pm.create_replica_log creates it",
						   data->tg_trigger->tgname),
					errhint("As the table's owner, run DROP TRIGGER %s ON %s.",
							quote_identifier(data->tg_trigger->tgname),
							guard_qualified_name(RelationGetRelid(data->tg_relation)))));
}

/*
 * A second trigger that calls the same function would take the position of arrival for that of the
 * publisher.  So the name counts too.
 */
static TriggerData *
replica_trigger_data(FunctionCallInfo fcinfo, const char *name, TriggerEvent kind)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by trigger manager")));
	if ((data->tg_event & (TRIGGER_EVENT_ROW | TRIGGER_EVENT_TIMINGMASK)) != kind ||
		strcmp(data->tg_trigger->tgname, name) != 0)
		replica_refuse_protocol(data);
	return data;
}

/*
 * Returns the row to be written, or NULL if none is to be written now.
 */
static HeapTuple
replica_insert(TriggerData *data)
{
	Relation rel = data->tg_relation;
	ReplicaTable *table;
	HeapTuple tuple = data->tg_trigtuple;
	int columns[2];
	Datum values[2];
	bool nulls[2] = {false, false};
	int64 position;
	bool isnull;

	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot insert into replica log \"%s\"", RelationGetRelationName(rel)),
				 errdetail("Only a subscription writes to it."),
				 errhint(
					 "Append the event at the publisher, or to another log of this database.")));
	/* Checks that the other triggers will fire too. */
	table = replica_table(rel);
	/* What COPY brings is in no order: it is written, sorted, at the end of the statement. */
	if (replica_copy_take(rel, tuple))
		return NULL;
	if (!replica_admit(rel, tuple, &position))
		return NULL;

	columns[0] = table->origin;
	values[0] = heap_getattr(tuple, table->position, RelationGetDescr(rel), &isnull);
	columns[1] = table->position;
	values[1] = Int64GetDatum(position);
	tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), 2, columns, values, nulls);
	/* The check of the position gets this. */
	tuple->t_tableOid = RelationGetRelid(rel);
	return tuple;
}

/*
 * Is this an update or a delete that a subscription applies?
 */
static bool
replica_is_applied(void)
{
	return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA &&
		   MyBackendType == B_BG_WORKER;
}

static HeapTuple
replica_update(TriggerData *data)
{
	TupleDesc desc = RelationGetDescr(data->tg_relation);
	AttrNumber origin = replica_origin_column(data->tg_relation);
	bool isnull;

	if (replica_is_applied())
		return NULL;
	if (origin != InvalidAttrNumber && heap_getattr(data->tg_trigtuple, origin, desc, &isnull) !=
										   heap_getattr(data->tg_newtuple, origin, desc, &isnull))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot change the publisher's position of an event in log \"%s\"",
							   RelationGetRelationName(data->tg_relation))));
	return data->tg_newtuple;
}

/*
 * BEFORE INSERT OR UPDATE OR DELETE FOR EACH ROW.
 */
Datum
pm_replica_row(PG_FUNCTION_ARGS)
{
	TriggerData *data = replica_trigger_data(fcinfo, REPLICA_ROW_TRIGGER,
											 TRIGGER_EVENT_ROW | TRIGGER_EVENT_BEFORE);

	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		PG_RETURN_POINTER(replica_insert(data));
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		PG_RETURN_POINTER(replica_update(data));
	PG_RETURN_POINTER(replica_is_applied() ? NULL : data->tg_trigtuple);
}

/*
 * BEFORE INSERT FOR EACH STATEMENT.
 */
Datum
pm_replica_begin(PG_FUNCTION_ARGS)
{
	TriggerData *data = replica_trigger_data(fcinfo, REPLICA_BEGIN_TRIGGER, TRIGGER_EVENT_BEFORE);
	ReplicaTable *table = replica_table(data->tg_relation);

	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		replica_copy_begin(data->tg_relation, table->position);
	PG_RETURN_POINTER(NULL);
}

/*
 * AFTER INSERT FOR EACH STATEMENT.
 */
Datum
pm_replica_end(PG_FUNCTION_ARGS)
{
	TriggerData *data = replica_trigger_data(fcinfo, REPLICA_END_TRIGGER, TRIGGER_EVENT_AFTER);

	(void) replica_table(data->tg_relation);
	replica_copy_end(data->tg_relation);
	PG_RETURN_POINTER(NULL);
}
