/*
 * erasure.c
 *		What pm.erase has left to do after its transaction.
 *
 * If process managers that may have kept something of the erased events are locked by other
 * sessions when the transaction of pm.erase commits, it leaves a row in pm_catalog.erasure.
 * The scheduler of the database does the rest (worker/erasures.c), and deletes the row.
 *
 * A row names its log.  So while there is one, no other log can get the name: its events
 * would be taken for those that were erased.  The log itself may be dropped, because what
 * was kept of its events can outlive it.
 *
 * In a copy, rows wait until their log is adopted (pm.resume).  While a dump is being
 * restored, the rows of the other private tables may not be there yet.
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"

#include "base/exec.h"
#include "base/scan.h"
#include "log/erasure.h"

/*
 * At most this many are completed in one transaction, and no further one when they have this many
 * positions in all.
 */
#define ERASURE_CLAIM			100
#define ERASURE_CLAIM_POSITIONS 1000000

/*
 * The table loses its pages when it is vacuumed.  An extension of version 0.1.0 does not have it.
 */
bool
erasure_any(void)
{
	return scan_table_has_pages("erasure");
}

/* ---------- reading ---------- */

static void *
erasure_form_log(uint64 row)
{
	return exec_text(row, 1);
}

List *
erasure_logs(void)
{
	static ExecStatement logs = {NULL,
								 "SELECT DISTINCT log FROM pm_catalog.erasure "
								 "WHERE system_identifier OPERATOR(pg_catalog.=) $1 "
								 "AND database OPERATOR(pg_catalog.=) $2 ORDER BY log",
								 2,
								 {INT8OID, OIDOID}};
	Datum values[2] = {Int64GetDatum((int64) GetSystemIdentifier()),
					   ObjectIdGetDatum(MyDatabaseId)};

	return erasure_any() ? exec_list(&logs, values, NULL, erasure_form_log) : NIL;
}

static List *
erasure_form_ids(Datum array)
{
	List *ids = NIL;
	Datum *elements;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		ids = lappend_int(ids, DatumGetInt32(elements[i]));
	return ids;
}

static List *
erasure_form_names(Datum array)
{
	List *names = NIL;
	Datum *elements;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL,
					  &count);
	for (int i = 0; i < count; i++)
		names = lappend(names, TextDatumGetCString(elements[i]));
	return names;
}

static void *
erasure_form(uint64 row)
{
	Erasure *erasure = palloc(sizeof(Erasure));
	bool isnull;

	erasure->id = DatumGetInt64(exec_value(row, 1, &isnull));
	erasure->positions = PointerGetDatum(DatumGetArrayTypePCopy(exec_value(row, 2, &isnull)));
	erasure->replacement = PointerGetDatum(DatumGetJsonbPCopy(exec_value(row, 3, &isnull)));
	erasure->done = erasure_form_ids(exec_value(row, 4, &isnull));
	erasure->waiting = erasure_form_names(exec_value(row, 5, &isnull));
	return erasure;
}

static int64
erasure_count(const char *log)
{
	static ExecStatement count = {NULL,
								  "SELECT pg_catalog.count(*) FROM pm_catalog.erasure "
								  "WHERE log OPERATOR(pg_catalog.=) $1",
								  1,
								  {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};
	ExecScope scope;
	int64 found;
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(&count, values, NULL);
	found = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return found;
}

/*
 * The first ones, with the same replacement.
 */
static List *
erasure_first(List *erasures)
{
	List *first = NIL;
	ListCell *lc;

	foreach(lc, erasures)
	{
		Erasure *erasure = lfirst(lc);

		if (first != NIL && !datumIsEqual(((Erasure *) linitial(first))->replacement,
										  erasure->replacement, false, -1))
			break;
		first = lappend(first, erasure);
	}
	return first;
}

static int
erasure_size(const Erasure *erasure)
{
	ArrayType *positions = DatumGetArrayTypeP(erasure->positions);

	return ArrayGetNItems(ARR_NDIM(positions), ARR_DIMS(positions));
}

/*
 * Claims the first one after an id; NULL if there is none.
 */
static Erasure *
erasure_claim_next(const char *log, int64 after)
{
	static ExecStatement claim = {NULL,
								  "SELECT id, positions, replacement, done, waits_for "
								  "FROM pm_catalog.erasure WHERE log OPERATOR(pg_catalog.=) $1 "
								  "AND id OPERATOR(pg_catalog.>) $2 "
								  "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
								  2,
								  {TEXTOID, INT8OID}};
	Datum values[2] = {CStringGetTextDatum(log), Int64GetDatum(after)};
	List *found = exec_list(&claim, values, NULL, erasure_form);

	return found == NIL ? NULL : linitial(found);
}

/*
 * One may have a million positions, so they are read one by one.
 */
List *
erasure_claim(const char *log, bool *all)
{
	List *erasures = NIL;
	Erasure *last = NULL;
	int64 positions = 0;

	*all = true;
	if (!erasure_any())
		return NIL;
	while (list_length(erasures) < ERASURE_CLAIM && positions < ERASURE_CLAIM_POSITIONS &&
		   (last = erasure_claim_next(log, last == NULL ? 0 : last->id)) != NULL)
	{
		erasures = lappend(erasures, last);
		positions += erasure_size(last);
	}
	erasures = erasure_first(erasures);
	*all = erasure_count(log) == list_length(erasures);
	return erasures;
}

/* ---------- writing ---------- */

/*
 * The positions of two arrays.
 */
static Datum
erasure_join(Datum a, Datum b)
{
	ArrayType *arrays[2] = {DatumGetArrayTypeP(a), DatumGetArrayTypeP(b)};
	Datum *elements[2];
	int counts[2];
	Datum *joined;

	for (int i = 0; i < 2; i++)
		deconstruct_array(arrays[i], INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &elements[i], NULL, &counts[i]);
	joined = palloc(sizeof(Datum) * ((Size) counts[0] + counts[1]));
	memcpy(joined, elements[0], sizeof(Datum) * counts[0]);
	memcpy(joined + counts[0], elements[1], sizeof(Datum) * counts[1]);
	return PointerGetDatum(construct_array(joined, counts[0] + counts[1], INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * A transaction may erase many streams.  Those with the same replacement are one erasure.
 */
List *
erasure_add(List *erasures, Datum positions, Datum replacement, List *done)
{
	Erasure *last = erasures == NIL ? NULL : llast(erasures);

	if (last != NULL && last->id == 0 && datumIsEqual(last->replacement, replacement, false, -1))
	{
		last->positions = erasure_join(last->positions, positions);
		last->done = list_intersection_int(last->done, done);
		return erasures;
	}
	last = palloc0(sizeof(Erasure));
	last->positions = positions;
	last->replacement = replacement;
	last->done = list_copy(done);
	return lappend(erasures, last);
}

static Datum
erasure_ids(List *ids)
{
	Datum *elements = palloc(sizeof(Datum) * Max(list_length(ids), 1));
	ListCell *lc;

	foreach(lc, ids)
		elements[foreach_current_index(lc)] = Int32GetDatum(lfirst_int(lc));
	return PointerGetDatum(
		construct_array(elements, list_length(ids), INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static Datum
erasure_names(List *names)
{
	Datum *elements = palloc(sizeof(Datum) * Max(list_length(names), 1));
	ListCell *lc;

	foreach(lc, names)
		elements[foreach_current_index(lc)] = CStringGetTextDatum((char *) lfirst(lc));
	return PointerGetDatum(
		construct_array(elements, list_length(names), TEXTOID, -1, false, TYPALIGN_INT));
}

void
erasure_keep(const char *log, const Erasure *erasure)
{
	static ExecStatement insert =
		{NULL,
		 "INSERT INTO pm_catalog.erasure "
		 "(log, done, waits_for, positions, replacement, system_identifier, database) "
		 "VALUES ($1, $2, $3, $4, $5, $6, $7)",
		 7,
		 {TEXTOID, INT4ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, JSONBOID, INT8OID, OIDOID}};
	static ExecStatement update = {NULL,
								   "UPDATE pm_catalog.erasure SET done = $2, waits_for = $3 "
								   "WHERE log OPERATOR(pg_catalog.=) $1 "
								   "AND id OPERATOR(pg_catalog.=) $4 "
								   "AND (done OPERATOR(pg_catalog.<>) $2 "
								   "OR waits_for OPERATOR(pg_catalog.<>) $3)",
								   4,
								   {TEXTOID, INT4ARRAYOID, TEXTARRAYOID, INT8OID}};
	Datum values[7] = {CStringGetTextDatum(log), erasure_ids(erasure->done),
					   erasure_names(erasure->waiting)};

	if (erasure->id != 0)
	{
		values[3] = Int64GetDatum(erasure->id);
		(void) exec_as_owner(&update, values, NULL);
		return;
	}
	values[3] = erasure->positions;
	values[4] = erasure->replacement;
	values[5] = Int64GetDatum((int64) GetSystemIdentifier());
	values[6] = ObjectIdGetDatum(MyDatabaseId);
	(void) exec_as_owner(&insert, values, NULL);
}

void
erasure_complete(const char *log, const Erasure *erasure)
{
	static ExecStatement complete = {NULL,
									 "DELETE FROM pm_catalog.erasure "
									 "WHERE log OPERATOR(pg_catalog.=) $1 "
									 "AND id OPERATOR(pg_catalog.=) $2",
									 2,
									 {TEXTOID, INT8OID}};
	Datum values[2] = {CStringGetTextDatum(log), Int64GetDatum(erasure->id)};

	if (erasure->id != 0)
		(void) exec_as_owner(&complete, values, NULL);
}

/* ---------- the log ---------- */

void
erasure_adopt(const char *log)
{
	static ExecStatement adopt =
		{NULL,
		 "UPDATE pm_catalog.erasure SET system_identifier = $1, database = $2 "
		 "WHERE ($3 IS NULL OR log OPERATOR(pg_catalog.=) $3) "
		 "AND (system_identifier OPERATOR(pg_catalog.<>) $1 "
		 "OR database OPERATOR(pg_catalog.<>) $2)",
		 3,
		 {INT8OID, OIDOID, TEXTOID}};
	Datum values[3] = {Int64GetDatum((int64) GetSystemIdentifier()),
					   ObjectIdGetDatum(MyDatabaseId)};
	char nulls[3] = {' ', ' ', ' '};

	values[2] = exec_text_arg(log, &nulls[2]);
	if (erasure_any())
		(void) exec_as_owner(&adopt, values, nulls);
}

void
erasure_refuse_log(const char *name)
{
	if (erasure_any() && erasure_count(name) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("log \"%s\" cannot be created now", name),
				 errdetail("Data that process managers have kept of erased events of an earlier "
						   "log of this name is not erased yet."),
				 errhint("Wait until pm.erasure has no row for it, or choose another name.")));
}
