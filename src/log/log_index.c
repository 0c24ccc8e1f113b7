/*
 * log_index.c
 *		Reads a log's events along an index, without a query.
 *
 * Every event that pm reads is read here or in log_read.c.  No query on a log's
 * table is planned or run, for any role.  The planner would simplify, and so
 * execute, what the table's owner has put into index expressions, predicates,
 * statistics and checks.  That would happen in the session of the reader, and
 * could take any length of time: even a built-in function can take very long
 * (factorial).  This file calls only PostgreSQL's own code for indexes on columns
 * of built-in types.  So the role need not be changed either.
 *
 * The caller has opened the log in this transaction, so its table is locked, and
 * has checked the rights of the reader.  Each function takes a snapshot of its
 * own, so it must be called after highwater_compute().
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "log/attached.h"
#include "log/log_audit.h"
#include "log/log_index.h"
#include "log/log_trouble.h"
#include "shmem/crash.h"

/* ---------- a scan ---------- */

/*
 * Raises an error if a column does not have its type, because this transaction
 * itself may have changed the table after the log was checked.
 */
static void
log_index_require_types(PmLog *log, Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		AttrNumber attnum = log->attnum[i];

		if (attnum < 1 || attnum > desc->natts || TupleDescAttr(desc, attnum - 1)->attisdropped ||
			TupleDescAttr(desc, attnum - 1)->attgenerated == COMPAT_GENERATED_VIRTUAL ||
			TupleDescAttr(desc, attnum - 1)->atttypid != log_columns[i].type)
			log_refuse_types(log);
	}
}

void
log_index_begin(LogIndexScan *scan, PmLog *log)
{
	memset(scan, 0, sizeof(*scan));
	scan->log = log;
	scan->name = CStringGetTextDatum(log->name);
	/* log_open() has locked the table. */
	scan->rel = table_open(log->relid, NoLock);
	Assert(CheckRelationLockedByMe(scan->rel, AccessShareLock, true));
	if (log->kind == LOG_ATTACHED)
		scan->attached = attach_scan_begin(log, scan->rel);
	else
		log_index_require_types(log, scan->rel);
	scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan->slot = table_slot_create(scan->rel, NULL);
	scan->passed = true;
}

/*
 * Are the positions of type integer, as those of an attached log can be?
 */
static bool
log_index_is_narrow(const LogIndexScan *scan)
{
	return scan->attached != NULL && scan->log->attached->narrow;
}

/*
 * Does the index have all rows, and may this snapshot use it?  If a row was
 * updated in place (HOT) before the index was created, an older snapshot may
 * not find the row in the index.
 */
static bool
log_index_usable(Relation index)
{
	return index->rd_index->indisvalid &&
		   heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		   (!index->rd_index->indcheckxmin ||
			TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
								  TransactionXmin));
}

bool
log_index_choose(LogIndexScan *scan, LogIndexFits fits)
{
	List *indexes = RelationGetIndexList(scan->rel);
	ListCell *lc;

	Assert(scan->index == NULL);
	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		/* Only compare columns, because reading index expressions would run their functions. */
		if (log_index_usable(index) && fits(scan, index))
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
log_index_of_positions(LogIndexScan *scan, Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		   index->rd_index->indkey.values[0] == scan->log->attnum[EVENT_POSITION] &&
		   index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID &&
		   index->rd_opcintype[0] == (log_index_is_narrow(scan) ? INT4OID : INT8OID) &&
		   (index->rd_indoption[0] & INDOPTION_DESC) == 0;
}

void
log_index_along(LogIndexScan *scan, ScanKey keys, int nkeys)
{
	if (scan->scan != NULL)
		index_endscan(scan->scan);
	scan->scan = compat_index_beginscan(scan->rel, scan->index, scan->snapshot, nkeys);
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

bool
log_index_next(LogIndexScan *scan, ScanDirection direction)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(scan->scan, direction, scan->slot);
}

int64
log_index_position(LogIndexScan *scan)
{
	bool isnull;
	Datum value = slot_getattr(scan->slot, scan->log->attnum[EVENT_POSITION], &isnull);

	return log_index_is_narrow(scan) ? (int64) DatumGetInt32(value) : DatumGetInt64(value);
}

void
log_index_event(LogIndexScan *scan, EventFields *event)
{
	if (scan->attached != NULL)
	{
		scan->error = attach_scan_event(scan->attached, scan->slot, event, &scan->passed);
		event->values[EVENT_LOG - 1] = scan->name;
		event->nulls[EVENT_LOG - 1] = false;
		if (scan->error != NULL)
			scan->passed = false;
		return;
	}
	/* The columns of the table can be in any order, and there can be others among them. */
	slot_getallattrs(scan->slot);
	event->values[EVENT_LOG - 1] = scan->name;
	event->nulls[EVENT_LOG - 1] = false;
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		event->values[i - 1] = scan->slot->tts_values[scan->log->attnum[i] - 1];
		event->nulls[i - 1] = scan->slot->tts_isnull[scan->log->attnum[i] - 1];
	}
}

void
log_index_end(LogIndexScan *scan)
{
	if (scan->scan != NULL)
		index_endscan(scan->scan);
	if (scan->attached != NULL)
		attach_scan_end(scan->attached);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	if (scan->index != NULL)
		index_close(scan->index, AccessShareLock);
	table_close(scan->rel, NoLock);
}

/* ---------- along the positions ---------- */

/*
 * A condition for the positions.  It is of type bigint even if the positions are not.
 */
static void
log_index_key(LogIndexScan *scan, ScanKey key, StrategyNumber strategy, int64 position)
{
	bool narrow = log_index_is_narrow(scan);
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

bool
log_index_begin_positions(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to)
{
	ScanKeyData keys[2];

	log_index_begin(scan, log);
	if (!log_index_choose(scan, log_index_of_positions))
	{
		log_index_end(scan);
		return false;
	}
	log_index_key(scan, &keys[0], BTGreaterStrategyNumber, after);
	log_index_key(scan, &keys[1], BTLessEqualStrategyNumber, up_to);
	log_index_along(scan, keys, 2);
	return true;
}

void
log_index_refuse(PmLog *log)
{
	LogTrouble trouble;

	log_trouble_no_index(&trouble, log);
	log_trouble_raise(&trouble);
}

void
log_index_refuse_row(LogIndexScan *scan)
{
	LogTrouble trouble;

	log_trouble_row(&trouble, scan->log, log_index_position(scan), scan->error);
	log_trouble_raise(&trouble);
}

bool
log_index_begin_events(LogIndexScan *scan, PmLog *log, int64 after, int64 up_to)
{
	if (!log_index_begin_positions(scan, log, after, up_to))
		return false;
	log_audit(log, ACL_SELECT);
	return true;
}

bool
log_index_next_event(LogIndexScan *scan, EventFields *event)
{
	if (!log_index_next(scan, ForwardScanDirection))
		return false;
	/* If reading a corrupt event crashes the server, this mark says which one it was. */
	crash_mark_position(log_index_position(scan));
	log_index_event(scan, event);
	return scan->error == NULL;
}

/* ---------- at given positions ---------- */

bool
log_index_begin_lookups(LogIndexScan *scan, PmLog *log)
{
	log_index_begin(scan, log);
	if (!log_index_choose(scan, log_index_of_positions))
	{
		log_index_end(scan);
		return false;
	}
	log_audit(log, ACL_SELECT);
	return true;
}

bool
log_index_look_up(LogIndexScan *scan, int64 position, EventFields *event)
{
	ScanKeyData key;

	log_index_key(scan, &key, BTEqualStrategyNumber, position);
	log_index_along(scan, &key, 1);
	scan->error = NULL;
	if (!log_index_next(scan, ForwardScanDirection))
		return false;
	log_index_event(scan, event);
	return scan->passed;
}

/* ---------- all at once ---------- */

static bool
log_index_read_events(PmLog *log, int64 after, int64 up_to, int64 max_count, bool sound,
					  LogIndexTake take, void *arg)
{
	LogIndexScan scan;
	EventFields event;
	int64 count = 0;
	bool more = true;

	if (!log_index_begin_events(&scan, log, after, up_to))
		return false;
	while (more && count < max_count && (log_index_next_event(&scan, &event) || scan.error != NULL))
	{
		if (scan.error != NULL && !sound)
			log_index_refuse_row(&scan);
		if (scan.error != NULL)
			pfree(scan.error);
		scan.error = NULL;
		if (!scan.passed)
			continue;
		more = take(arg, &event);
		count++;
	}
	log_index_end(&scan);
	return true;
}

bool
log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take, void *arg)
{
	return log_index_read_events(log, after, up_to, max_count, false, take, arg);
}

bool
log_index_read_sound(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take,
					 void *arg)
{
	return log_index_read_events(log, after, up_to, max_count, true, take, arg);
}
