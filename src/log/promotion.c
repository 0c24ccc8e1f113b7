/*
 * promotion.c
 *		After a promotion, moves a log's sequence past what the old primary may have drawn.
 *
 * A promoted standby continues where its WAL ends.  With asynchronous replication, the old
 * primary may have committed more: the lost tail.  For the events there, it has drawn
 * positions that the sequences here would draw again for other events, while other systems
 * may remember the lost events by (log, position).
 *
 * Each promotion, and each recovery to a point in time, begins a new timeline.  So before
 * a transaction writes a log for the first time on a timeline, the sequence of the log
 * skips positions.  The guard asks for that before the transaction takes its floor
 * (guard_enter()).  So no event can get a position that was drawn before the skip.
 *
 * A row of pm_catalog.promotion, the note, says that a log has done so on a timeline.  It
 * is written in the transaction of the first writer, after the skip.  If that transaction
 * is rolled back, or lost, the next one that finds no note skips once more, which does no
 * harm.  A note without its skip cannot exist, since the WAL of the skip comes first.
 * Nor can a note come from another timeline with the same number: a server that has a
 * note from a timeline has replayed WAL of that timeline, so its own promotion gets a
 * higher number.  A copy of the database in another cluster finds no note with its
 * system identifier, and skips too: the original may have drawn more since the dump.
 *
 * The number of positions skipped is pm.promotion_gap, and as many again for each
 * PROMOTION_STEP since the last commit that this server has received, because a lost tail
 * that took longer can hold more events.  There is a second reason: if the first server
 * that is promoted is lost before the second one has received anything from it, both begin
 * at the same position and may have the same timeline.  The second one is promoted later,
 * so it skips more.
 */
#include "pm.h"

#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "base/guc.h"
#include "base/scan.h"
#include "base/version.h"
#include "log/promotion.h"
#include "log/sequence.h"

#define PROMOTION_SINCE "0.2.0"

/* For each such time since the last commit that was received, the gap is skipped again, ms. */
#define PROMOTION_STEP 10000

/* Columns of pm_catalog.promotion, in the order in which CREATE TABLE has them. */
enum
{
	PROMOTION_SOURCE = 1,
	PROMOTION_SYSTEM_IDENTIFIER,
	PROMOTION_TIMELINE
};

PG_FUNCTION_INFO_V1(pm_timeline);

/*
 * Is there a note of this timeline?  One of an open transaction counts, since its skip is
 * done.
 */
static bool
promotion_noted(Oid relid, TimeLineID timeline)
{
	RowScan scan;
	bool noted = false;

	scan_begin(&scan, "promotion", "promotion_source", AccessShareLock);
	scan_where_oid(&scan, PROMOTION_SOURCE, relid);
	scan_use_dirty(&scan);
	while (!noted && scan_next(&scan))
		noted = DatumGetInt64(scan.values[PROMOTION_SYSTEM_IDENTIFIER - 1]) ==
					(int64) GetSystemIdentifier() &&
				DatumGetInt32(scan.values[PROMOTION_TIMELINE - 1]) == (int32) timeline;
	scan_end(&scan);
	return noted;
}

/*
 * Inserts a row, and never updates one, so that a writer does not wait for another one
 * and cannot fail because of its isolation level.
 */
static void
promotion_note(Oid relid, TimeLineID timeline, const int64 *from, const int64 *to)
{
	static ExecStatement note = {
		NULL,
		"INSERT INTO pm_catalog.promotion "
		"(source, system_identifier, timeline, skipped_from, skipped_to) "
		"VALUES ($1::pg_catalog.oid::pg_catalog.regclass, $2, $3, $4, $5)",
		5,
		{OIDOID, INT8OID, INT4OID, INT8OID, INT8OID},
	};
	char nulls[5] = {' ', ' ', ' ', from == NULL ? 'n' : ' ', to == NULL ? 'n' : ' '};
	Datum values[5];

	values[0] = ObjectIdGetDatum(relid);
	values[1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[2] = Int32GetDatum((int32) timeline);
	values[3] = Int64GetDatum(from == NULL ? 0 : *from);
	values[4] = Int64GetDatum(to == NULL ? 0 : *to);
	(void) exec_as_owner(&note, values, nulls);
}

/*
 * How many positions to skip.  The time of the last commit is not known if the server
 * was restarted after its promotion, or was not promoted at all.
 */
static int64
promotion_gap(void)
{
	TimestampTz received = GetLatestXTime();
	int64 gap = guc_promotion_gap;
	long elapsed;

	if (received == 0)
		return gap;
	elapsed = TimestampDifferenceMilliseconds(received, GetCurrentTimestamp());
	return gap + (int64) ((double) gap * elapsed / PROMOTION_STEP);
}

TimeLineID
promotion_skip(Oid relid, Oid seqid)
{
	TimeLineID timeline = GetWALInsertionTimeLine();
	Oid notes;
	int32 column;
	int64 from;
	int64 to;

	if (!version_has(PROMOTION_SINCE))
		return 0;
	/* The notes are about the table of the log; a partition of it has the same sequence. */
	(void) sequenceIsOwned(seqid, DEPENDENCY_INTERNAL, &relid, &column);
	if (promotion_noted(relid, timeline))
		return timeline;

	/* Of several first writers, one skips; the others wait for that, not for its commit. */
	notes = exec_require_relid("promotion");
	LockDatabaseObject(notes, relid, 0, ExclusiveLock);
	if (!promotion_noted(relid, timeline))
	{
		int64 gap = promotion_gap();

		if (gap > 0)
			sequence_skip(seqid, gap, &from, &to);
		promotion_note(relid, timeline, gap > 0 ? &from : NULL, gap > 0 ? &to : NULL);
	}
	UnlockDatabaseObject(notes, relid, 0, ExclusiveLock);
	return timeline;
}

void
promotion_begin(Oid relid)
{
	if (version_has(PROMOTION_SINCE))
		promotion_note(relid, GetWALInsertionTimeLine(), NULL, NULL);
}

void
promotion_move(Oid from, Oid to)
{
	static ExecStatement move = {
		NULL,
		"UPDATE pm_catalog.promotion SET source = $2::pg_catalog.oid::pg_catalog.regclass "
		"WHERE source OPERATOR(pg_catalog.=) $1::pg_catalog.oid::pg_catalog.regclass",
		2,
		{OIDOID, OIDOID},
	};
	Datum values[2] = {ObjectIdGetDatum(from), ObjectIdGetDatum(to)};

	(void) exec_as_owner(&move, values, NULL);
}

void
promotion_forget(const char *log)
{
	static ExecStatement forget = {
		NULL,
		"DELETE FROM pm_catalog.promotion WHERE source OPERATOR(pg_catalog.=) "
		"(SELECT l.source FROM pm_catalog.log l WHERE l.name OPERATOR(pg_catalog.=) $1)",
		1,
		{TEXTOID},
	};
	Datum values[1];

	if (!version_has(PROMOTION_SINCE))
		return;
	values[0] = CStringGetTextDatum(log);
	(void) exec_as_owner(&forget, values, NULL);
}

/*
 * pm.timeline(): the timeline on which this server writes; NULL while it is in recovery.
 */
Datum
pm_timeline(PG_FUNCTION_ARGS)
{
	if (RecoveryInProgress())
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) GetWALInsertionTimeLine());
}
