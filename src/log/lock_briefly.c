/*
 * lock_briefly.c
 *		Locks a log's table exclusively without making its writers wait for a long time.
 *
 * Writers queue behind a session that waits for an exclusive lock.  So the lock is requested for
 * a short time, repeatedly, with pauses in which the writers get their locks.
 *
 * A vacuum by autovacuum gives way to a session that has waited for it for deadlock_timeout,
 * which is longer than one attempt.  So that is set to a short time too.  Only superusers may
 * change this setting, but here it only decides how early this session looks for deadlocks.
 */
#include "pm.h"

#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "base/attempt.h"
#include "log/lock_briefly.h"

/* How long writers may have to wait for one attempt, and the pause after it, in ms. */
#define LOCK_BRIEFLY_WAIT  50
#define LOCK_BRIEFLY_PAUSE 100
/* When a vacuum is asked to give way. */
#define LOCK_BRIEFLY_CHECK 20
#define LOCK_BRIEFLY_TRIES 100

typedef struct LockBriefly
{
	Oid relid;
	Oid seqid;
} LockBriefly;

static void
lock_briefly_both(void *arg)
{
	LockBriefly *lock = arg;

	LockRelationOid(lock->relid, AccessExclusiveLock);
	if (OidIsValid(lock->seqid))
		LockRelationOid(lock->seqid, AccessExclusiveLock);
}

static void
lock_briefly_set(const char *setting, int ms, GucContext context)
{
	(void) set_config_option(setting, psprintf("%d", ms), context, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

static bool
lock_briefly_try(LockBriefly *lock)
{
	int level = NewGUCNestLevel();
	ErrorData *error;
	bool locked;

	lock_briefly_set("lock_timeout", LOCK_BRIEFLY_WAIT, PGC_USERSET);
	lock_briefly_set("deadlock_timeout", LOCK_BRIEFLY_CHECK, PGC_SUSET);
	locked = attempt_any(lock_briefly_both, lock, &error);
	AtEOXact_GUC(true, level);
	if (locked)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

bool
lock_briefly(Oid relid, Oid seqid)
{
	LockBriefly lock = {relid, seqid};
	int tries = LOCK_BRIEFLY_TRIES;

	/* The caller's own limit is one for all attempts. */
	if (LockTimeout > 0)
		tries = Min(tries, LockTimeout / (LOCK_BRIEFLY_WAIT + LOCK_BRIEFLY_PAUSE) + 1);
	for (int i = 0; i < tries; i++)
	{
		if (lock_briefly_try(&lock))
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOCK_BRIEFLY_PAUSE * 1000L);
	}
	return false;
}
