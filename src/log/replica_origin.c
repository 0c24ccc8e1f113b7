/*
 * replica_origin.c
 *		The publisher's positions of events that pm.trim has removed from a replica log.
 *
 * The publisher may still have these events, and the initial copy of a new subscription would bring
 * them again.  So pm_catalog.trimmed_origin keeps their positions, as ranges.  A position that was
 * never used at the publisher divides two ranges, because an event that is committed late could
 * still arrive with it.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/scan.h"
#include "log/replica_origin.h"

/* After this many positions, they are written. */
#define REPLICA_ORIGIN_CHUNK 10000

/* The columns of pm_catalog.trimmed_origin. */
enum
{
	TRIMMED_ORIGIN_SOURCE = 1,
	TRIMMED_ORIGIN_FIRST,
	TRIMMED_ORIGIN_LAST
};

/*
 * The first range that ends at this position or after it must not begin after it.
 */
bool
replica_origin_trimmed(Oid relid, int64 origin)
{
	RowScan scan;
	bool trimmed;

	scan_begin(&scan, "trimmed_origin", "trimmed_origin_pkey", AccessShareLock);
	scan_where_oid(&scan, TRIMMED_ORIGIN_SOURCE, relid);
	scan_from_id(&scan, TRIMMED_ORIGIN_LAST, origin);
	trimmed = scan_next(&scan) && DatumGetInt64(scan.values[TRIMMED_ORIGIN_FIRST - 1]) <= origin;
	scan_end(&scan);
	return trimmed;
}

static int
replica_origin_compare(const void *a, const void *b)
{
	int64 one = *(const int64 *) a;
	int64 other = *(const int64 *) b;

	return one < other ? -1 : one > other ? 1 : 0;
}

/*
 * Keeps a range, joined with those that it touches.
 */
static void
replica_origin_keep_range(Oid relid, int64 first, int64 last)
{
	static ExecStatement keep =
		{NULL,
		 "WITH joined AS (DELETE FROM pm_catalog.trimmed_origin "
		 "WHERE source OPERATOR(pg_catalog.=) $1::pg_catalog.oid::pg_catalog.regclass "
		 "AND last OPERATOR(pg_catalog.>=) ($2 OPERATOR(pg_catalog.-) 1) "
		 "AND first OPERATOR(pg_catalog.<=) ($3 OPERATOR(pg_catalog.+) 1) RETURNING first, last) "
		 "INSERT INTO pm_catalog.trimmed_origin (source, first, last) "
		 "SELECT $1::pg_catalog.oid::pg_catalog.regclass, least($2, pg_catalog.min(j.first)), "
		 "greatest($3, pg_catalog.max(j.last)) FROM joined j",
		 3,
		 {OIDOID, INT8OID, INT8OID}};
	Datum values[3] = {ObjectIdGetDatum(relid), Int64GetDatum(first), Int64GetDatum(last)};

	(void) exec_as_owner(&keep, values, NULL);
}

void
replica_origin_keep(ReplicaOrigins *origins, Oid relid)
{
	int64 *positions = origins->positions;
	int first = 0;

	if (origins->count == 0)
		return;
	qsort(positions, origins->count, sizeof(int64), replica_origin_compare);
	for (int i = 1; i <= origins->count; i++)
	{
		if (i < origins->count && positions[i] == positions[i - 1] + 1)
			continue;
		replica_origin_keep_range(relid, positions[first], positions[i - 1]);
		first = i;
	}
	origins->count = 0;
}

void
replica_origin_note(ReplicaOrigins *origins, Oid relid, int64 origin)
{
	if (origins->positions == NULL)
		origins->positions = palloc(sizeof(int64) * REPLICA_ORIGIN_CHUNK);
	origins->positions[origins->count++] = origin;
	if (origins->count == REPLICA_ORIGIN_CHUNK)
		replica_origin_keep(origins, relid);
}

void
replica_origin_forget(const char *log)
{
	static ExecStatement forget =
		{NULL,
		 "DELETE FROM pm_catalog.trimmed_origin WHERE source OPERATOR(pg_catalog.=) "
		 "(SELECT l.source FROM pm_catalog.log l WHERE l.name OPERATOR(pg_catalog.=) $1)",
		 1,
		 {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};

	if (OidIsValid(exec_catalog_relid("trimmed_origin")))
		(void) exec_as_owner(&forget, values, NULL);
}
