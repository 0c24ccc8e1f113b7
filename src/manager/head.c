/*
 * head.c
 *		The first timer and the first parked events of a unit.
 *
 * Each batch asks for them.  Timers and parked events are handled from the
 * front, and while another session holds a snapshot the rows that have gone
 * stay in the indexes: whoever looks for the first one would pass all of them
 * by, in each batch.  So a backend remembers before which point there is
 * nothing any more, and looks from there.
 *
 * What makes that right.  Rows are added, or made due earlier, only by a
 * transaction that holds the unit's lock, and such a transaction writes a new
 * version of the lane's row (lane_touch()).  So as long as the lane's row is
 * the version that this backend has seen or written last, nobody else has
 * added anything.  What this backend adds itself lowers its points.
 *
 * A point that was raised past rows which this transaction has deleted is only
 * as good as the transaction.  It is forgotten when that aborts, or when a
 * subtransaction aborts that had begun before the point was raised.
 *
 * Rows changed by hand are found HEAD_AGE later.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "base/scan.h"
#include "manager/head.h"

/* Units that a backend remembers. */
#define HEADS 256

/* After this long nothing is taken for known, ms. */
#define HEAD_AGE 10000

typedef struct Head
{
	char manager[NAMEDATALEN];
	int lane;
	ItemPointerData tid; /* the version of the lane's row */
	TransactionId xmin;
	TimestampTz known_at;
	TransactionId raised_by;	/* this transaction, which may have deleted rows */
	SubTransactionId raised_in; /* of that, this or an earlier one had deleted them */
	TransactionId touched_by;	/* that has written the lane's row for others to see */
	HeadPoint timer;			/* there are no timers before, */
	HeadPoint retry;			/* no retries, */
	int64 parked;				/* and no first events of a key */
} Head;

static Head heads[HEADS];
static bool any_raised = false; /* by a transaction that may have deleted rows */

static void
head_reset(Head *head)
{
	head->raised_by = InvalidTransactionId;
	head->timer.time = head->retry.time = DT_NOBEGIN;
	head->timer.id = head->retry.id = head->parked = PG_INT64_MIN;
	head->known_at = GetCurrentTimestamp();
}

/*
 * What is remembered of a unit.
 */
static Head *
head_of(const char *manager, int lane)
{
	uint32 hash = hash_combine(hash_bytes((const unsigned char *) manager, strlen(manager)),
							   murmurhash32((uint32) lane));
	Head *head = &heads[hash % HEADS];

	Assert(strlen(manager) < NAMEDATALEN);
	if (head->lane != lane || strcmp(head->manager, manager) != 0)
	{
		strlcpy(head->manager, manager, NAMEDATALEN);
		head->lane = lane;
		ItemPointerSetInvalid(&head->tid);
		head->touched_by = InvalidTransactionId;
		head_reset(head);
	}
	return head;
}

/*
 * Forgets the points that were raised in a (sub)transaction which has aborted,
 * or since it began.
 */
static void
head_undo(SubTransactionId subid)
{
	any_raised = false;
	for (int i = 0; i < HEADS; i++)
	{
		if (!TransactionIdIsValid(heads[i].raised_by))
			continue;
		if (subid <= heads[i].raised_in)
			head_reset(&heads[i]);
		else
			any_raised = true;
	}
}

static void
head_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
					  void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && any_raised)
		head_undo(mysubid);
}

/*
 * What a transaction that has committed has deleted is gone.  What becomes of
 * one that was prepared is not known.
 */
static void
head_xact_callback(XactEvent event, void *arg)
{
	if (!any_raised)
		return;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		head_undo(InvalidSubTransactionId);
	else if (event == XACT_EVENT_COMMIT)
	{
		for (int i = 0; i < HEADS; i++)
			heads[i].raised_by = InvalidTransactionId;
		any_raised = false;
	}
}

void
head_install(void)
{
	RegisterXactCallback(head_xact_callback, NULL);
	RegisterSubXactCallback(head_subxact_callback, NULL);
}

/*
 * The unit's points have been raised.
 */
static void
head_raised(Head *head)
{
	head->raised_by = GetTopTransactionIdIfAny();
	head->raised_in = GetCurrentSubTransactionId();
	/* A subtransaction that has written nothing so far has deleted nothing. */
	if (!TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		head->raised_in--;
	any_raised |= TransactionIdIsValid(head->raised_by);
}

/*
 * The version of the lane's row that there is now.  The caller holds the
 * unit's lock, or only wants to show what is there.
 */
void
head_lane_seen(const char *manager, int lane, HeapTuple tuple)
{
	Head *head = head_of(manager, lane);
	TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	TimestampTz now = GetCurrentTimestamp();

	if (!ItemPointerIsValid(&head->tid) || !ItemPointerEquals(&head->tid, &tuple->t_self) ||
		head->xmin != xmin || now < head->known_at ||
		TimestampDifferenceExceeds(head->known_at, now, HEAD_AGE))
		head_reset(head);
	head->tid = tuple->t_self;
	head->xmin = xmin;
}

/*
 * This backend has written the lane's row: nobody else has between.
 */
void
head_lane_written(const char *manager, int lane, HeapTuple before, HeapTuple after)
{
	Head *head = head_of(manager, lane);

	if (!ItemPointerIsValid(&head->tid) || !ItemPointerEquals(&head->tid, &before->t_self))
		head_reset(head);
	head->tid = after->t_self;
	head->xmin = head->touched_by = HeapTupleHeaderGetRawXmin(after->t_data);
}

/*
 * Has this transaction written the lane's row already?
 */
bool
head_touched(const char *manager, int lane)
{
	return TransactionIdIsCurrentTransactionId(head_of(manager, lane)->touched_by);
}

/*
 * Rows have been added in other ways than below.
 */
void
head_forget(const char *manager, int lane)
{
	head_reset(head_of(manager, lane));
}

static bool
head_before(HeadPoint a, HeadPoint b)
{
	return a.time < b.time || (a.time == b.time && a.id < b.id);
}

/*
 * This backend has set a timer.
 */
void
head_add_timer(const char *manager, int lane, TimestampTz due, int64 id)
{
	Head *head = head_of(manager, lane);
	HeadPoint point = {due, id};

	if (head_before(point, head->timer))
		head->timer = point;
}

/*
 * This backend has made an event the first of its key, or due (DT_NOEND: it is
 * not to be tried again).
 */
void
head_add_parked(const char *manager, int lane, int64 id, TimestampTz retry_at)
{
	Head *head = head_of(manager, lane);
	HeadPoint point = {retry_at, id};

	head->parked = Min(head->parked, id);
	if (head_before(point, head->retry))
		head->retry = point;
}

HeadPoint
head_timer_from(const char *manager, int lane)
{
	return head_of(manager, lane)->timer;
}

HeadPoint
head_retry_from(const char *manager, int lane)
{
	return head_of(manager, lane)->retry;
}

int64
head_parked_from(const char *manager, int lane)
{
	return head_of(manager, lane)->parked;
}

/*
 * Begins to look along an index of a unit's rows.
 */
static void
head_scan(RowScan *scan, const char *table, const char *index, const char *manager, int lane)
{
	scan_begin(scan, table, index, AccessShareLock);
	scan_where_text(scan, scan_column(scan, "process_manager"), manager);
	scan_where_int4(scan, scan_column(scan, "lane"), lane);
}

/*
 * The first row from a point on, which becomes the point.  Its time, DT_NOEND
 * if there is none.
 */
static TimestampTz
head_first(const char *manager, int lane, const char *table, const char *index, const char *column,
		   HeadPoint *point)
{
	RowScan scan;
	AttrNumber time;
	AttrNumber id;

	head_scan(&scan, table, index, manager, lane);
	time = scan_column(&scan, column);
	id = scan_column(&scan, "id");
	scan_from(&scan, time, point->time, id, point->id);
	if (scan_next(&scan))
	{
		point->time = DatumGetTimestampTz(scan.values[time - 1]);
		point->id = DatumGetInt64(scan.values[id - 1]);
	}
	else
	{
		point->time = DT_NOEND;
		point->id = PG_INT64_MAX;
	}
	scan_end(&scan);
	head_raised(head_of(manager, lane));
	return point->time;
}

/*
 * When the first timer is due, DT_NOEND: there is none.
 */
TimestampTz
head_timer(const char *manager, int lane)
{
	return head_first(manager, lane, "timer", "timer_due", "due", &head_of(manager, lane)->timer);
}

/*
 * When the first parked event is to be tried again, DT_NOEND: none is.
 */
TimestampTz
head_retry(const char *manager, int lane)
{
	return head_first(manager, lane, "parked", "parked_retry", "retry_at",
					  &head_of(manager, lane)->retry);
}

/*
 * Is any event parked?  Then some is the first of its key.
 */
bool
head_parked(const char *manager, int lane)
{
	Head *head = head_of(manager, lane);
	RowScan scan;
	bool found;

	head_scan(&scan, "parked", "parked_head", manager, lane);
	scan_from_id(&scan, scan_column(&scan, "id"), head->parked);
	found = scan_next(&scan);
	head->parked = found ? DatumGetInt64(scan.values[scan_column(&scan, "id") - 1]) : PG_INT64_MAX;
	scan_end(&scan);
	head_raised(head);
	return found;
}
