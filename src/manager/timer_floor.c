/*
 * timer_floor.c
 *		Remembers the lowest id that the timer of a key and a type can have.
 *
 * A timer that is set again gets a new row.  While another session holds a
 * snapshot, and within one transaction, the old rows stay in the index, and
 * setting or canceling the timer for the n-th time would pass n rows.  So a
 * backend remembers the id of the last timer that it has set for a key and a
 * type.
 *
 * Assumes that a backend that sets a timer holds the unit's lock and deletes
 * the timer that was set before, and that ids only increase.  Then, whatever
 * other backends do, no timer of the key and type has a lower id.
 *
 * That is true only if the (sub)transaction that set the timer commits.  If it
 * aborts, the timer that was deleted exists again, so the id is forgotten.
 */
#include "pm.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/timer_floor.h"

/* How many timers a backend remembers. */
#define TIMER_FLOORS 1024

typedef struct TimerFloor
{
	uint64 hash; /* of process manager, key and type; 0: none */
	int64 id;
	SubTransactionId subid; /* that has set it; InvalidSubTransactionId: it has committed */
} TimerFloor;

static TimerFloor floors[TIMER_FLOORS];
static bool any_pending = false; /* is subid set for any timer? */

/*
 * Called when all (sub)transactions from this one on have ended.  The ids that
 * they have recorded are kept if "hold" is true, else forgotten.
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
 * The OID of the table is part of the hash: when the extension is dropped and
 * created again, ids start from 1.
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

int64
timer_floor(const char *manager, const char *key, Datum type)
{
	uint64 hash = timer_floor_hash(manager, key, type);
	TimerFloor *floor = &floors[hash % TIMER_FLOORS];

	return floor->hash == hash ? floor->id : PG_INT64_MIN;
}

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
