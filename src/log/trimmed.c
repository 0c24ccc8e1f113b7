/*
 * trimmed.c
 *		Keeps the last versions of streams of which pm.trim has deleted all events.
 *
 * The version of a stream is that of its last event.  When pm.trim deletes all
 * events of a stream, the transaction that deletes them keeps the version here.
 * So pm.append continues from that version, and a lower expected version never
 * matches again.
 *
 * A caller must look for events of the stream first, and only then look here.  If
 * its snapshot does not show the events any more, the transaction that deleted
 * them has committed, and a snapshot that is not older shows its row here.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/attempt.h"
#include "base/bulk.h"
#include "base/digest.h"
#include "base/exec.h"
#include "base/scan.h"
#include "log/trimmed.h"

/* The columns, in the order in which CREATE TABLE has them. */
enum
{
	TRIMMED_LOG = 1,
	TRIMMED_STREAM,
	TRIMMED_VERSION
};
#define TRIMMED_COLUMNS TRIMMED_VERSION

static const char *const trimmed_columns[] = {
	[TRIMMED_LOG - 1] = "log",
	[TRIMMED_STREAM - 1] = "stream",
	[TRIMMED_VERSION - 1] = "version",
};

StaticAssertDecl(lengthof(trimmed_columns) == TRIMMED_COLUMNS,
				 "trimmed_columns[] must have all columns");

/*
 * Every pm.append calls this.  The table has no page until a stream is emptied
 * for the first time, and gets one before its first row is committed.  So no
 * scan is needed.
 */
bool
trimmed_any(void)
{
	return scan_table_has_pages("trimmed");
}

bool
trimmed_find(const char *log, Datum stream, int64 *version)
{
	RowScan scan;
	bool found;

	if (!trimmed_any())
		return false;
	/* Streams are found by a digest, since a name may be too long for an index. */
	scan_begin(&scan, "trimmed", "trimmed_pkey", AccessShareLock);
	scan_where_text(&scan, TRIMMED_LOG, log);
	scan_where_bytea(&scan, TRIMMED_STREAM, digest_text(stream));
	found = scan_next(&scan);
	if (found)
		*version = DatumGetInt64(scan.values[TRIMMED_VERSION - 1]);
	scan_end(&scan);
	return found;
}

/* The versions of some streams, which are to be kept. */
typedef struct TrimmedKeep
{
	const char *log;
	Datum *hashes; /* of the streams */
	Datum *versions;
	int count;
} TrimmedKeep;

static int
trimmed_compare(const void *a, const void *b, void *arg)
{
	Datum *hashes = arg;
	bytea *one = DatumGetByteaPP(hashes[*(const int *) a]);
	bytea *other = DatumGetByteaPP(hashes[*(const int *) b]);

	/* All digests have the same length. */
	return memcmp(VARDATA_ANY(one), VARDATA_ANY(other), VARSIZE_ANY_EXHDR(one));
}

/*
 * In the order of the index, neighbors are on the same page.
 */
static void
trimmed_sort(TrimmedKeep *keep, Datum *streams, Datum *versions)
{
	int *order = palloc(sizeof(int) * keep->count);
	Datum *hashes = palloc(sizeof(Datum) * keep->count);

	for (int i = 0; i < keep->count; i++)
	{
		hashes[i] = digest_text(streams[i]);
		order[i] = i;
	}
	qsort_arg(order, keep->count, sizeof(int), trimmed_compare, hashes);
	for (int i = 0; i < keep->count; i++)
	{
		keep->hashes[i] = hashes[order[i]];
		keep->versions[i] = versions[order[i]];
	}
	pfree(order);
	pfree(hashes);
}

/*
 * Splits the streams: those of which nothing is kept yet go to *fresh, and those of which a
 * lower version is kept stay.
 */
static void
trimmed_split(TrimmedKeep *keep, TrimmedKeep *fresh)
{
	RowScan scan;
	int stay = 0;

	scan_begin(&scan, "trimmed", "trimmed_pkey", AccessShareLock);
	for (int i = 0; i < keep->count; i++)
	{
		scan_reset(&scan);
		scan_where_text(&scan, TRIMMED_LOG, keep->log);
		scan_where_bytea(&scan, TRIMMED_STREAM, keep->hashes[i]);
		if (!scan_next(&scan))
		{
			fresh->hashes[fresh->count] = keep->hashes[i];
			fresh->versions[fresh->count++] = keep->versions[i];
		}
		else if (DatumGetInt64(scan.values[TRIMMED_VERSION - 1]) < DatumGetInt64(keep->versions[i]))
		{
			keep->hashes[stay] = keep->hashes[i];
			keep->versions[stay++] = keep->versions[i];
		}
	}
	keep->count = stay;
	scan_end(&scan);
}

static void
trimmed_insert(void *arg)
{
	static BulkTable table = {"trimmed", trimmed_columns, TRIMMED_COLUMNS, 0, 0, InvalidOid, 0};
	TrimmedKeep *fresh = arg;
	Datum log = CStringGetTextDatum(fresh->log);
	Bulk bulk;

	bulk_begin(&bulk, &table);
	for (int i = 0; i < fresh->count; i++)
	{
		(void) bulk_add(&bulk);
		bulk_set(&bulk, TRIMMED_LOG, log, false);
		bulk_set(&bulk, TRIMMED_STREAM, fresh->hashes[i], false);
		bulk_set(&bulk, TRIMMED_VERSION, fresh->versions[i], false);
	}
	bulk_end(&bulk);
}

/*
 * Keeps the higher version of each stream, whether one is kept already or not.
 */
static void
trimmed_merge(const TrimmedKeep *keep)
{
	static ExecStatement merge =
		{NULL,
		 "INSERT INTO pm_catalog.trimmed AS t (log, stream, version) "
		 "SELECT $1, u.stream, u.version "
		 "FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u(stream, version) "
		 "ON CONFLICT (log, stream) DO UPDATE SET version = greatest(t.version, EXCLUDED.version)",
		 3,
		 {TEXTOID, BYTEAARRAYOID, INT8ARRAYOID}};
	Datum values[3];

	if (keep->count == 0)
		return;
	values[0] = CStringGetTextDatum(keep->log);
	values[1] = PointerGetDatum(
		construct_array(keep->hashes, keep->count, BYTEAOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(keep->versions, keep->count, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) exec_as_owner(&merge, values, NULL);
}

/*
 * DROP of a partition keeps the versions of all its streams, which can be hundreds of thousands.
 * Most of them are new here, and are written several times faster without ON CONFLICT.
 */
void
trimmed_keep(const char *log, Datum *streams, Datum *versions, int count)
{
	TrimmedKeep keep = {log, NULL, NULL, count};
	TrimmedKeep fresh = {log, NULL, NULL, 0};
	MemoryContext context;
	MemoryContext caller;
	ErrorData *error;

	if (count == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "pm trimmed", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	keep.hashes = palloc(sizeof(Datum) * count);
	keep.versions = palloc(sizeof(Datum) * count);
	fresh.hashes = palloc(sizeof(Datum) * count);
	fresh.versions = palloc(sizeof(Datum) * count);
	trimmed_sort(&keep, streams, versions);
	trimmed_split(&keep, &fresh);
	trimmed_merge(&keep);
	if (fresh.count > 0 && !attempt_any(trimmed_insert, &fresh, &error))
	{
		/* Since trimmed_split(), another transaction has kept the version of one of them. */
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		trimmed_merge(&fresh);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
trimmed_forget(const char *log)
{
	static ExecStatement forget =
		{NULL, "DELETE FROM pm_catalog.trimmed WHERE log OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};

	(void) exec_as_owner(&forget, values, NULL);
}
