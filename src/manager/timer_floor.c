/*
 * timer_floor.c
 *		Below which id a key has no timer of a type any more.
 *
 * A timer that is set again gets a new row, and while another session holds a
 * snapshot, or within one transaction, the old rows stay in the index: setting
 * or cancelling it for the n-th time would pass n rows by.  A backend remembers
 * the id of the last timer that it has set for a key and type.  When it was set,
 * the one before was deleted, under the lock of the unit; ids only rise, so
 * whatever other backends do, there is none with a lower id.
 *
 * That holds if the (sub)transaction that set it commits.  If it aborts, the one
 * before is there again, and what was remembered is forgotten.
 */
#include "pm.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/timer_floor.h"

/* A backend remembers this many. */
#define TIMER_FLOORS 1024

typedef struct TimerFloor
{
	uint64 hash; /* of key and type, 0: none */
	int64 id;
	SubTransactionId subid; /* that has set it, InvalidSubTransactionId: committed */
} TimerFloor;

static TimerFloor floors[TIMER_FLOORS];
static bool any_pending = false;

/*
 * The floors of (sub)transactions from this one on are forgotten, or hold.
 */
static void
timer_floor_confirm(SubTransactionId from, bool hold)
{
	any_pending = false;
	for (int i = 0; i < TIMER_FLOORS; i++)
	{
		if (floors[i].subid == InvalidSubTransactionId)
			continue;
		if (floors[i].subid < from)
		{
			any_pending = true;
			continue;
		}
		floors[i].subid = InvalidSubTransactionId;
		if (!hold)
			floors[i].hash = 0;
	}
}

static void
timer_floor_xact_callback(XactEvent event, void *arg)
{
	if (!any_pending)
		return;
	if (event == XACT_EVENT_COMMIT)
		timer_floor_confirm(InvalidSubTransactionId, true);
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		timer_floor_confirm(InvalidSubTransactionId, false);
}

static void
timer_floor_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
							 void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && any_pending)
		timer_floor_confirm(mysubid, false);
}

void
timer_floor_install(void)
{
	RegisterXactCallback(timer_floor_xact_callback, NULL);
	RegisterSubXactCallback(timer_floor_subxact_callback, NULL);
}

/*
 * Of this extension: when it is created anew, ids begin again.
 */
static uint64
timer_floor_hash(const char *manager, const char *key, Datum type)
{
	text *t = DatumGetTextPP(type);
	uint64 hash = exec_require_relid("timer");

	hash = hash_bytes_extended((const unsigned char *) manager, strlen(manager), hash);
	hash = hash_bytes_extended((const unsigned char *) key, strlen(key), hash);
	hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), hash);
	return Max(hash, 1);
}

/*
 * A key has no timer of the type with a lower id.
 */
int64
timer_floor(const char *manager, const char *key, Datum type)
{
	uint64 hash = timer_floor_hash(manager, key, type);
	TimerFloor *floor = &floors[hash % TIMER_FLOORS];

	return floor->hash == hash ? floor->id : PG_INT64_MIN;
}

/*
 * This transaction has set a timer, and deleted the one before.
 */
void
timer_floor_raise(const char *manager, const char *key, Datum type, int64 id)
{
	uint64 hash = timer_floor_hash(manager, key, type);
	TimerFloor *floor = &floors[hash % TIMER_FLOORS];

	floor->hash = hash;
	floor->id = id;
	floor->subid = GetCurrentSubTransactionId();
	any_pending = true;
}
