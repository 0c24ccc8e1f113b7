/*
 * log_scan.c
 *		Scans the table of a log, or one of its partitions, along an index.
 *
 * Every event that pm reads is read here.  No query on a log's table is planned or run,
 * for any role.  The planner would simplify, and so execute, what the table's owner has
 * put into index expressions, predicates, statistics and checks.  That would happen in
 * the session of the reader, and could take any length of time: even a built-in function
 * can take a very long time (factorial).  This file calls only PostgreSQL's own code for
 * indexes on columns of built-in types.  So the role need not be changed either.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/tupconvert.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "log/attached.h"
#include "log/log_scan.h"
#include "log/log_trouble.h"
#include "log/partition.h"

/*
 * Raises an error if a column does not have its type, because this transaction
 * itself may have changed the table after the log was checked.
 */
static void
log_scan_require_types(LogScan *scan)
{
	TupleDesc desc = RelationGetDescr(scan->rel);

	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		AttrNumber attnum = scan->attnum[i];

		if (attnum < 1 || attnum > desc->natts || TupleDescAttr(desc, attnum - 1)->attisdropped ||
			TupleDescAttr(desc, attnum - 1)->attgenerated == COMPAT_GENERATED_VIRTUAL ||
			TupleDescAttr(desc, attnum - 1)->atttypid != log_columns[i].type)
			log_refuse_types(scan->log);
	}
}

/*
 * The expressions of an attached log are evaluated for rows that have the columns of its table in
 * their order, which a partition need not have.
 */
static void
log_scan_begin_attached(LogScan *scan, Relation root)
{
	scan->attached = attach_scan_begin(scan->log, root);
	if (scan->rel == root)
		return;
	scan->map = compat_attrmap_if_required(RelationGetDescr(scan->rel), RelationGetDescr(root));
	if (scan->map != NULL)
		scan->converted = MakeSingleTupleTableSlot(RelationGetDescr(root), &TTSOpsVirtual);
}

/*
 * Are the positions of type integer, as those of an attached log can be?
 */
static bool
log_scan_is_narrow(const LogScan *scan)
{
	return scan->attached != NULL && scan->log->attached->narrow;
}

void
log_scan_begin(LogScan *scan, PmLog *log, Relation root, Relation rel, Snapshot snapshot)
{
	memset(scan, 0, sizeof(*scan));
	scan->log = log;
	scan->name = CStringGetTextDatum(log->title);
	scan->rel = rel;
	Assert(CheckRelationLockedByMe(rel, AccessShareLock, true));
	if (rel == root)
		memcpy(scan->attnum, log->attnum, sizeof(scan->attnum));
	else
		partition_columns(log, root, rel, scan->attnum);
	if (log->kind == LOG_ATTACHED)
		log_scan_begin_attached(scan, root);
	else
		log_scan_require_types(scan);
	scan->snapshot = snapshot;
	scan->slot = table_slot_create(rel, NULL);
	scan->passed = true;
}

/*
 * Does the index have all rows, and may this snapshot use it?  If a row was
 * updated in place (HOT) before the index was created, an older snapshot may
 * not find the row in the index.
 */
static bool
log_scan_usable(Relation index)
{
	return index->rd_index->indisvalid &&
		   heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		   (!index->rd_index->indcheckxmin ||
			TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
								  TransactionXmin));
}

bool
log_scan_choose(LogScan *scan, LogScanFits fits)
{
	List *indexes = RelationGetIndexList(scan->rel);
	ListCell *lc;

	Assert(scan->index == NULL);
	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		/* Only compare columns, because reading index expressions would run their functions. */
		if (log_scan_usable(index) && fits(scan, index))
		{
			scan->index = index;
			break;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return scan->index != NULL;
}

bool
log_scan_has(LogScan *scan, LogScanFits fits)
{
	bool has = log_scan_choose(scan, fits);

	if (has)
		index_close(scan->index, AccessShareLock);
	scan->index = NULL;
	return has;
}

bool
log_scan_of_positions(LogScan *scan, Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		   index->rd_index->indkey.values[0] == scan->attnum[EVENT_POSITION] &&
		   index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID &&
		   index->rd_opcintype[0] == (log_scan_is_narrow(scan) ? INT4OID : INT8OID) &&
		   (index->rd_indoption[0] & INDOPTION_DESC) == 0;
}

void
log_scan_along(LogScan *scan, ScanKey keys, int nkeys)
{
	if (scan->scan != NULL)
		index_endscan(scan->scan);
	scan->scan = compat_index_beginscan(scan->rel, scan->index, scan->snapshot, nkeys);
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

/*
 * A condition for the positions.  It is of type bigint even if the positions are not.
 */
static void
log_scan_key(LogScan *scan, ScanKey key, StrategyNumber strategy, int64 position)
{
	bool narrow = log_scan_is_narrow(scan);
	RegProcedure procedure;

	if (strategy == BTGreaterStrategyNumber)
		procedure = narrow ? F_INT48GT : F_INT8GT;
	else if (strategy == BTLessEqualStrategyNumber)
		procedure = narrow ? F_INT48LE : F_INT8LE;
	else
		procedure = narrow ? F_INT48EQ : F_INT8EQ;
	ScanKeyEntryInitialize(key, 0, 1, strategy, narrow ? INT8OID : InvalidOid, InvalidOid,
						   procedure, Int64GetDatum(position));
}

void
log_scan_between(LogScan *scan, int64 after, int64 up_to)
{
	ScanKeyData keys[2];

	log_scan_key(scan, &keys[0], BTGreaterStrategyNumber, after);
	log_scan_key(scan, &keys[1], BTLessEqualStrategyNumber, up_to);
	log_scan_along(scan, keys, 2);
}

void
log_scan_at(LogScan *scan, int64 position)
{
	ScanKeyData key;

	log_scan_key(scan, &key, BTEqualStrategyNumber, position);
	log_scan_along(scan, &key, 1);
}

bool
log_scan_next(LogScan *scan, ScanDirection direction)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(scan->scan, direction, scan->slot);
}

static void
log_scan_event_attached(LogScan *scan, EventFields *event)
{
	TupleTableSlot *slot = scan->slot;

	if (scan->map != NULL)
		slot = execute_attr_map_slot(scan->map, slot, scan->converted);
	scan->error = attach_scan_event(scan->attached, slot, event, &scan->passed);
	event->values[EVENT_LOG - 1] = scan->name;
	event->nulls[EVENT_LOG - 1] = false;
	if (scan->error != NULL)
		scan->passed = false;
}

void
log_scan_event(LogScan *scan, EventFields *event)
{
	if (scan->attached != NULL)
	{
		log_scan_event_attached(scan, event);
		return;
	}
	/* The columns of the table can be in any order, and there can be others among them. */
	slot_getallattrs(scan->slot);
	event->values[EVENT_LOG - 1] = scan->name;
	event->nulls[EVENT_LOG - 1] = false;
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		event->values[i - 1] = scan->slot->tts_values[scan->attnum[i] - 1];
		event->nulls[i - 1] = scan->slot->tts_isnull[scan->attnum[i] - 1];
	}
}

int64
log_scan_position(LogScan *scan)
{
	bool isnull;
	Datum value = slot_getattr(scan->slot, scan->attnum[EVENT_POSITION], &isnull);

	return log_scan_is_narrow(scan) ? (int64) DatumGetInt32(value) : DatumGetInt64(value);
}

int64
log_scan_number(LogScan *scan, int attribute, bool *isnull)
{
	Datum value = slot_getattr(scan->slot, scan->attnum[attribute], isnull);

	return *isnull ? 0 : DatumGetInt64(value);
}

void
log_scan_refuse_row(LogScan *scan)
{
	LogTrouble trouble;

	log_trouble_row(&trouble, scan->log, log_scan_position(scan), scan->error);
	log_trouble_raise(&trouble);
}

void
log_scan_end(LogScan *scan)
{
	if (scan->scan != NULL)
		index_endscan(scan->scan);
	if (scan->attached != NULL)
		attach_scan_end(scan->attached);
	if (scan->converted != NULL)
		ExecDropSingleTupleTableSlot(scan->converted);
	ExecDropSingleTupleTableSlot(scan->slot);
	if (scan->index != NULL)
		index_close(scan->index, AccessShareLock);
}
