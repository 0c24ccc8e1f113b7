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
	log_index_require_types(log, scan->rel);
	scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan->slot = table_slot_create(scan->rel, NULL);
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
		   index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID && index->rd_opcintype[0] == INT8OID &&
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

void
log_index_event(LogIndexScan *scan, EventFields *event)
{
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
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	if (scan->index != NULL)
		index_close(scan->index, AccessShareLock);
	table_close(scan->rel, NoLock);
}

/* ---------- along the positions ---------- */

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
	ScanKeyEntryInitialize(&keys[0], 0, 1, BTGreaterStrategyNumber, InvalidOid, InvalidOid,
						   F_INT8GT, Int64GetDatum(after));
	ScanKeyEntryInitialize(&keys[1], 0, 1, BTLessEqualStrategyNumber, InvalidOid, InvalidOid,
						   F_INT8LE, Int64GetDatum(up_to));
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

/*
 * Is it a primary key of the positions?  Then it has the type and the order that
 * log_index_of_positions() asks for.  This is found without opening the index.
 */
static bool
log_index_is_primary(PmLog *log, Oid index)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool fits;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	fits = form->indisprimary && form->indisvalid && !form->indcheckxmin &&
		   form->indkey.values[0] == log->attnum[EVENT_POSITION] &&
		   heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	ReleaseSysCache(tuple);
	if (!fits)
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	fits = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relam == BTREE_AM_OID;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return fits;
}

static bool
log_index_has_primary(PmLog *log)
{
	Relation rel = table_open(log->relid, NoLock);
	bool has = false;
	List *indexes = RelationGetIndexList(rel);
	ListCell *lc;

	foreach(lc, indexes)
		has = has || log_index_is_primary(log, lfirst_oid(lc));
	list_free(indexes);
	table_close(rel, NoLock);
	return has;
}

bool
log_index_exists(PmLog *log)
{
	LogIndexScan scan;
	bool exists;

	/* Thousands of logs may be looked at, and nearly all have this one. */
	if (log_index_has_primary(log))
		return true;
	log_index_begin(&scan, log);
	exists = log_index_choose(&scan, log_index_of_positions);
	log_index_end(&scan);
	return exists;
}

bool
log_index_has(PmLog *log, int64 position)
{
	LogIndexScan scan;
	bool found;

	if (!log_index_begin_positions(&scan, log, Max(position, PG_INT64_MIN + 1) - 1, position))
		log_index_refuse(log);
	found = log_index_next(&scan, ForwardScanDirection);
	log_index_end(&scan);
	return found;
}

bool
log_index_first(PmLog *log, int64 after, TimestampTz *recorded_at)
{
	LogIndexScan scan;
	bool isnull = true;

	if (!log_index_begin_positions(&scan, log, after, PG_INT64_MAX))
		return false;
	if (log_index_next(&scan, ForwardScanDirection))
		*recorded_at = DatumGetTimestampTz(
			slot_getattr(scan.slot, log->attnum[EVENT_RECORDED_AT], &isnull));
	log_index_end(&scan);
	return !isnull;
}

int
log_index_count(PmLog *log, int64 after, int most)
{
	LogIndexScan scan;
	int count = 0;

	if (!log_index_begin_positions(&scan, log, after, PG_INT64_MAX))
		return -1;
	while (count < most && log_index_next(&scan, ForwardScanDirection))
		count++;
	log_index_end(&scan);
	return count;
}

bool
log_index_last(PmLog *log, int64 after, int64 *position, bool *known)
{
	LogIndexScan scan;
	bool isnull = true;
	bool begun = log_index_begin_positions(&scan, log, after, PG_INT64_MAX);

	if (known != NULL)
		*known = begun;
	else if (!begun)
		log_index_refuse(log);
	if (!begun)
		return false;
	if (log_index_next(&scan, BackwardScanDirection))
		*position = DatumGetInt64(slot_getattr(scan.slot, log->attnum[EVENT_POSITION], &isnull));
	log_index_end(&scan);
	return !isnull;
}

/*
 * Reads the log from its start, because positions need not be in the order of
 * time.
 */
bool
log_index_since(PmLog *log, TimestampTz since, int64 *position)
{
	LogIndexScan scan;
	bool found = false;

	if (!log_index_begin_positions(&scan, log, PG_INT64_MIN, PG_INT64_MAX))
		log_index_refuse(log);
	while (!found && log_index_next(&scan, ForwardScanDirection))
	{
		bool isnull;
		Datum recorded_at = slot_getattr(scan.slot, log->attnum[EVENT_RECORDED_AT], &isnull);

		found = !isnull && DatumGetTimestampTz(recorded_at) >= since;
		if (found)
			*position = DatumGetInt64(
				slot_getattr(scan.slot, log->attnum[EVENT_POSITION], &isnull));
	}
	log_index_end(&scan);
	return found;
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
	bool isnull;

	if (!log_index_next(scan, ForwardScanDirection))
		return false;
	/* If reading a corrupt event crashes the server, this mark says which one it was. */
	crash_mark_position(
		DatumGetInt64(slot_getattr(scan->slot, scan->log->attnum[EVENT_POSITION], &isnull)));
	log_index_event(scan, event);
	return true;
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

	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid, InvalidOid, F_INT8EQ,
						   Int64GetDatum(position));
	log_index_along(scan, &key, 1);
	if (!log_index_next(scan, ForwardScanDirection))
		return false;
	log_index_event(scan, event);
	return true;
}

/* ---------- all at once ---------- */

bool
log_index_read(PmLog *log, int64 after, int64 up_to, int64 max_count, LogIndexTake take, void *arg)
{
	LogIndexScan scan;
	EventFields event;
	bool more = true;

	if (!log_index_begin_events(&scan, log, after, up_to))
		return false;
	for (int64 count = 0; more && count < max_count && log_index_next_event(&scan, &event); count++)
		more = take(arg, &event);
	log_index_end(&scan);
	return true;
}
