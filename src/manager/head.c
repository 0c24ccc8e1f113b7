/*
 * head.c
 *		Finds the first timer and the first parked events of a unit.
 *
 * Each batch needs them.  Timers and parked events are handled in order.  While
 * another session holds an old snapshot, the rows of those that have been
 * handled stay in the indexes, and in each batch a search for the first row
 * would pass all of them.  So a backend remembers points before which there are
 * no rows any more, and searches from there.
 *
 * Assumes that a transaction that adds rows, or makes one due earlier, holds
 * the unit's lock and writes a new version of the lane's row (lane_touch()).
 * As long as the lane's row is the version that this backend has read or
 * written last, no other backend has added anything.  What this backend adds
 * lowers its own points.
 *
 * A point may have been raised past rows that the current transaction has
 * deleted.  The point is forgotten if the transaction aborts, or if a
 * subtransaction that began before the point was raised aborts.
 *
 * A search for one key would pass such old rows, too.  So a backend that has searched for
 * many keys keeps a filter of the keys that have parked events.  The filter is forgotten
 * when the points are.
 *
 * If a superuser has changed the tables without writing the lane's row, that is noticed
 * after HEAD_AGE at the latest.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "base/key_filter.h"
#include "base/scan.h"
#include "manager/head.h"

/* How many units a backend remembers. */
#define HEADS 256

/* After this time, in ms, what is remembered is not used any more. */
#define HEAD_AGE 10000

/*
 * When this many keys have been looked up in the index, a filter is made, unless there are
 * more than HEAD_FILTER_TIMES times as many heads.
 */
#define HEAD_FILTER_ASKED 300
#define HEAD_FILTER_TIMES 8

typedef struct Head
{
	char manager[NAMEDATALEN];
	int lane;
	ItemPointerData tid; /* the version of the lane's row */
	TransactionId xmin;
	TimestampTz known_at;
	TransactionId raised_by; /* the transaction that raised a point, if it may have deleted rows */
	SubTransactionId raised_in; /* rows were deleted in this subtransaction or before it */
	TransactionId touched_by;	/* the transaction that wrote the lane's row last */
	HeadPoint timer;			/* no timer is before this */
	HeadPoint retry;			/* no retry is before this */
	int64 parked;				/* no head of a key has a lower id */
	int64 heads;				/* there are at most this many heads; -1: unknown */
	bool no_association;		/* no key of the unit has an association */
	KeyFilter keys;				/* a filter of the keys that have parked events */
	int asked;					/* how many keys were looked up in the index */
	int ask_from;				/* a filter is made when "asked" reaches this number */
} Head;

static Head heads[HEADS];
static bool any_raised = false; /* is raised_by set for any unit? */

static void
head_reset(Head *head)
{
	head->raised_by = InvalidTransactionId;
	head->timer.time = head->retry.time = DT_NOBEGIN;
	head->timer.id = head->retry.id = head->parked = PG_INT64_MIN;
	head->no_association = false;
	head->heads = -1;
	key_filter_free(&head->keys);
	head->asked = 0;
	head->ask_from = HEAD_FILTER_ASKED;
	head->known_at = GetCurrentTimestamp();
}

/*
 * What is remembered about a unit.  Of two units with the same hash, only one is
 * remembered.
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
 * Forgets the points that were raised since an aborted (sub)transaction began.
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
 * When a transaction commits, the rows that it has deleted are gone for good.
 * Whether a prepared transaction commits is not known, so its points are
 * forgotten.
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
 * Records that a point of the unit may have been raised past deleted rows.
 */
static void
head_raised(Head *head)
{
	head->raised_by = GetTopTransactionIdIfAny();
	head->raised_in = GetCurrentSubTransactionId();
	/*
	 * A subtransaction without an ID has deleted nothing: those rows were
	 * deleted before it began, and its abort does not bring them back.
	 */
	if (!TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		head->raised_in--;
	any_raised |= TransactionIdIsValid(head->raised_by);
}

/*
 * The lane's row has been read.  If it is another version than before, another
 * backend may have added rows.  The caller holds the unit's lock, or only
 * displays the state.
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
 * The lane's row has been written, from the version that this backend has read:
 * no other backend has written it in between.
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

bool
head_touched(const char *manager, int lane)
{
	return TransactionIdIsCurrentTransactionId(head_of(manager, lane)->touched_by);
}

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

void
head_add_timer(const char *manager, int lane, TimestampTz due, int64 id)
{
	Head *head = head_of(manager, lane);
	HeadPoint point = {due, id};

	if (head_before(point, head->timer))
		head->timer = point;
}

/*
 * An event has become the head of its key, or is due at another time (DT_NOEND:
 * it is not tried again by itself).
 */
void
head_add_parked(const char *manager, int lane, int64 id, TimestampTz retry_at)
{
	Head *head = head_of(manager, lane);
	HeadPoint point = {retry_at, id};

	head->parked = Min(head->parked, id);
	/* It may be one that was counted before, which does no harm. */
	if (head->heads >= 0)
		head->heads++;
	if (head_before(point, head->retry))
		head->retry = point;
}

/*
 * Notes that a key has parked events.
 */
void
head_add_key(const char *manager, int lane, const char *key)
{
	Head *head = head_of(manager, lane);

	if (head->keys.bits == NULL || key_filter_add(&head->keys, key))
		return;
	/* The filter is full.  Make a larger one when a key is looked up the next time. */
	head->asked = Max(head->asked, (int) head->keys.count * 2 / HEAD_FILTER_TIMES);
	head->ask_from = 0;
	key_filter_free(&head->keys);
}

void
head_add_association(const char *manager, int lane)
{
	head_of(manager, lane)->no_association = false;
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

/*
 * How many keys have a parked event, at most.  -1 if that is not known.
 */
int64
head_count(const char *manager, int lane)
{
	return head_of(manager, lane)->heads;
}

void
head_counted(const char *manager, int lane, int64 heads)
{
	head_of(manager, lane)->heads = heads;
}

int64
head_parked_from(const char *manager, int lane)
{
	return head_of(manager, lane)->parked;
}

/*
 * Begins a scan of a unit's rows along an index.
 */
static void
head_scan(RowScan *scan, const char *table, const char *index, const char *manager, int lane)
{
	scan_begin(scan, table, index, AccessShareLock);
	scan_where_text(scan, scan_column(scan, "process_manager"), manager);
	scan_where_int4(scan, scan_column(scan, "lane"), lane);
}

/*
 * Raises a point to the first row that there is from it on.  Returns the time of
 * that row, DT_NOEND if there is none.  *deferred says whether it is a deferred event;
 * NULL: it is a timer.
 */
static TimestampTz
head_first(const char *manager, int lane, const char *table, const char *index, const char *column,
		   HeadPoint *point, bool *deferred)
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
		if (deferred != NULL)
			*deferred = strcmp(scan_text(&scan, scan_column(&scan, "state")), "deferred") == 0;
	}
	else
	{
		point->time = DT_NOEND;
		point->id = PG_INT64_MAX;
	}
	scan_end(&scan);
	/* The point may be past rows that this transaction has deleted. */
	head_raised(head_of(manager, lane));
	return point->time;
}

TimestampTz
head_timer(const char *manager, int lane)
{
	return head_first(manager, lane, "timer", "timer_due", "due", &head_of(manager, lane)->timer,
					  NULL);
}

TimestampTz
head_retry(const char *manager, int lane, bool *deferred)
{
	*deferred = false;
	return head_first(manager, lane, "parked", "parked_retry", "retry_at",
					  &head_of(manager, lane)->retry, deferred);
}

/*
 * Is the head to which the point was raised still there?  A scan from a point on would
 * read all heads of its page in the index.
 */
static bool
head_parked_still(Head *head, const char *manager, int lane)
{
	RowScan scan;
	bool found;

	if (head->parked == PG_INT64_MIN || head->parked == PG_INT64_MAX)
		return false;
	head_scan(&scan, "parked", "parked_head", manager, lane);
	scan_where_int8(&scan, scan_column(&scan, "id"), head->parked);
	found = scan_next(&scan);
	scan_end(&scan);
	return found;
}

bool
head_parked(const char *manager, int lane)
{
	Head *head = head_of(manager, lane);
	RowScan scan;
	bool found;

	if (head_parked_still(head, manager, lane))
		return true;

	head_scan(&scan, "parked", "parked_head", manager, lane);
	scan_from_id(&scan, scan_column(&scan, "id"), head->parked);
	found = scan_next(&scan);
	head->parked = found ? DatumGetInt64(scan.values[scan_column(&scan, "id") - 1]) : PG_INT64_MAX;
	scan_end(&scan);
	head_raised(head);
	return found;
}

/*
 * Makes a filter of the keys of all heads, unless there are too many.
 */
static void
head_make_filter(Head *head, const char *manager, int lane)
{
	int most = Min(head->asked, KEY_FILTER_MAX / HEAD_FILTER_TIMES) * HEAD_FILTER_TIMES;
	uint32 *hashes = palloc(sizeof(uint32) * most);
	AttrNumber key;
	RowScan scan;
	int count = 0;
	bool more;

	head_scan(&scan, "parked", "parked_head", manager, lane);
	key = scan_column(&scan, "key");
	scan_from_id(&scan, scan_column(&scan, "id"), head->parked);
	while ((more = scan_next(&scan)) && count < most)
		if (!scan.nulls[key - 1])
			hashes[count++] = key_filter_hash(scan_text(&scan, key));
	scan_end(&scan);
	if (!more)
		key_filter_make(&head->keys, hashes, count);
	/* The next filter will cost more, so make it later. */
	head->ask_from = head->asked > PG_INT32_MAX / 8 ? PG_INT32_MAX : head->asked * 4;
	pfree(hashes);
	head_raised(head);
}

/*
 * Is it known, without looking, that a key has no parked events?
 */
bool
head_lacks_key(const char *manager, int lane, const char *key)
{
	return key_filter_lacks(&head_of(manager, lane)->keys, key);
}

/*
 * Notes that this many keys have been looked up in the index.
 */
void
head_asked(const char *manager, int lane, int count)
{
	Head *head = head_of(manager, lane);

	if (head->keys.bits != NULL)
		return;
	head->asked = Min(head->asked + count, PG_INT32_MAX / 2);
	if (head->asked >= head->ask_from)
		head_make_filter(head, manager, lane);
}

/*
 * Associations are not kept by lane.  That there is none at all is remembered for the
 * unit, because only the unit adds those of its keys.
 */
bool
head_association(const char *manager, int lane)
{
	Head *head = head_of(manager, lane);
	RowScan scan;

	if (head->no_association)
		return false;
	scan_begin(&scan, "association", "association_key", AccessShareLock);
	scan_where_text(&scan, scan_column(&scan, "process_manager"), manager);
	head->no_association = !scan_next(&scan);
	scan_end(&scan);
	head_raised(head);
	return !head->no_association;
}
