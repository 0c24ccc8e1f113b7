/*
 * trimmed.c
 *		Keeps the last versions of streams whose events pm.trim has all deleted.
 *
 * The version of a stream is that of its last event.  When pm.trim deletes all
 * events of a stream, the transaction that deletes them keeps the version here.
 * So pm.append continues from that version, and an expected version from before
 * never matches again.
 *
 * A caller must look for events of the stream first, and only then look here.  If
 * its snapshot does not show the events any more, the transaction that deleted
 * them has committed, and a snapshot that is not older shows its row here.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

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

void
trimmed_keep(const char *log, Datum *streams, Datum *versions, int count)
{
	static ExecStatement keep =
		{NULL,
		 "INSERT INTO pm_catalog.trimmed AS t (log, stream, version) "
		 "SELECT $1, u.stream, u.version "
		 "FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u(stream, version) "
		 "ON CONFLICT (log, stream) DO UPDATE SET version = greatest(t.version, EXCLUDED.version)",
		 3,
		 {TEXTOID, BYTEAARRAYOID, INT8ARRAYOID}};
	Datum *hashes = palloc(sizeof(Datum) * Max(count, 1));
	Datum values[3];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
		hashes[i] = digest_text(streams[i]);
	values[0] = CStringGetTextDatum(log);
	values[1] = PointerGetDatum(construct_array(hashes, count, BYTEAOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(
		construct_array(versions, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) exec_as_owner(&keep, values, NULL);
}

void
trimmed_forget(const char *log)
{
	static ExecStatement forget =
		{NULL, "DELETE FROM pm_catalog.trimmed WHERE log OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};

	(void) exec_as_owner(&forget, values, NULL);
}
