/*
 * consumer.c
 *		Consumers: programs outside the database that do the work of a process manager.
 *
 * A consumer fetches events under a lease of their lane, does its work, and advances:
 *
 *	dispatch/fetch.c		pm.fetch: chooses a lane, and waits if there is nothing
 *	  fetch_lane.c			one lane:
 *		fetch_logs.c		  its logs and timers, read as for a batch
 *		fetch_key.c			  the keys: calls correlate as the owner
 *		fetch_parked.c		  parked events that are due
 *	dispatch/consumer_fail.c	pm.fail: parks what it could not handle
 *	consumer_instance.c		pm.save, pm.finish: the instances that it keeps
 *	dispatch/advance.c		pm.advance: moves the cursors past what was fetched
 *	consumer.c				pm.extend, pm.release; who may be a consumer
 *	  lease.c				who holds a lane, and what was fetched (lease_row.c: its rows)
 *	  lease_expire.c		what happens when a lease has run out
 *
 * There is no state in a session: a consumer is a name, and each call can come through
 * another connection.  pm.advance and the others that write take the unit's lock, check
 * the lease, and keep the lock until the transaction ends.  So the lease cannot pass to
 * another consumer between the check and the commit, and the effects that a consumer
 * writes in the same transaction commit only if it held the lease.
 */
#include "pm.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "manager/consumer.h"
#include "manager/lease_row.h"
#include "manager/manager_lock.h"
#include "manager/registry_kept.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_extend);
PG_FUNCTION_INFO_V1(pm_release);

/* ---------- who may ---------- */

bool
consumer_may(const ProcessManager *pm, Oid role)
{
	ListCell *lc;

	if (!OidIsValid(pm->owner))
		return superuser_arg(role);
	if (has_privs_of_role(role, pm->owner))
		return true;
	foreach(lc, pm->consumers)
		if (has_privs_of_role(role, lfirst_oid(lc)))
			return true;
	return false;
}

void
consumer_require(const ProcessManager *pm)
{
	if (!consumer_may(pm, GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not be a consumer of process manager \"%s\"",
							   GetUserNameFromId(GetUserId(), false), pm->name),
						errhint("Its owner permits roles with the argument consumers of "
								"pm.register.")));
	if (pm->handler != NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("process manager \"%s\" has a handler, and no consumers", pm->name),
						errhint("Register it with handler => NULL to consume its events.")));
	if (!pm->at_home)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("process manager \"%s\" has no consumers: this database is a copy",
							   pm->name),
						errhint("SELECT pm.resume(%s) adopts it. From then on, what its consumers "
								"do outside the database is done for this copy, too.",
								quote_literal_cstr(pm->name))));
}

static char *
consumer_name(FunctionCallInfo fcinfo, int arg)
{
	char *name;

	argument_not_null(fcinfo, arg, "consumer");
	name = text_to_cstring(PG_GETARG_TEXT_PP(arg));
	if (*name == '\0' || strlen(name) > CONSUMER_MAX_NAME)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("invalid consumer name"),
						errdetail("A name has 1 to %d bytes.", CONSUMER_MAX_NAME)));
	return name;
}

void
consumer_begin(ConsumerCall *call, FunctionCallInfo fcinfo, const char *function, int name,
			   int consumer)
{
	highwater_require_fresh_snapshots(function);
	exec_require_writable(function);
	argument_not_null(fcinfo, name, "name");
	call->function = function;
	call->name = text_to_cstring(PG_GETARG_TEXT_PP(name));
	call->consumer = consumer_name(fcinfo, consumer);
	/* The batch that runs a handler holds the lock of a unit. */
	if (within_handler())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("%s cannot be called by a handler", function)));
	call->pm = registry_kept_get(call->name);
	consumer_require(call->pm);
}

bool
consumer_reload(ConsumerCall *call)
{
	if (call->pm->version == registry_version())
		return false;
	call->pm = registry_get(call->name, false);
	consumer_require(call->pm);
	return true;
}

/* ---------- the lease ---------- */

/*
 * Raises the error for a consumer that has lost its lease, or never had one.
 */
COMPAT_NORETURN static void
consumer_refuse(const ConsumerCall *call, int lane, const Lease *lease)
{
	ereport(ERROR,
			(errcode(ERRCODE_PM_LEASE_LOST),
			 errmsg("consumer \"%s\" does not hold lane %d of process manager \"%s\"",
					call->consumer, lane, call->name),
			 lease->consumer == NULL ?
				 errdetail("No consumer holds it.") :
			 lease_is_of(lease, call->consumer) ?
				 errdetail("Its lease ran out at %s.", timestamptz_to_str(lease->until)) :
				 errdetail("Consumer \"%s\" holds it.", lease->consumer),
			 errhint("Roll back, and call pm.fetch. Events that were not advanced are fetched "
					 "again.")));
}

/*
 * Locks a unit, and loads its process manager again if it has changed meanwhile.
 */
static void
consumer_lock_unit(ConsumerCall *call, int lane)
{
	int id;

	/*
	 * If another process manager has the name afterwards, the lock of that one is
	 * needed.
	 */
	do
	{
		id = call->pm->id;
		if (!manager_lock_unit(id, lane, true))
		{
			/* This transaction may hold the lock of another lane. */
			manager_lock_queue(id);
			(void) manager_lock_unit(id, lane, false);
		}
		(void) consumer_reload(call);
	} while (call->pm->id != id);
}

/*
 * While this transaction has had the unit's lock, nobody else could get the lane, even if
 * the lease has run out meanwhile.
 */
void
consumer_lock(ConsumerCall *call, int lane, Lease *lease)
{
	bool mine = manager_lock_is_mine(call->pm->id, lane);

	if (lane < 0 || lane >= call->pm->lanes)
		ereport(ERROR, (errcode(ERRCODE_PM_LEASE_LOST),
						errmsg("process manager \"%s\" has no lane %d", call->name, lane),
						errdetail("Its lanes are numbered from 0 to %d.", call->pm->lanes - 1)));
	consumer_lock_unit(call, lane);
	lease_read(call->pm, lane, lease);
	if (!lease_is_of(lease, call->consumer) || !(mine || lease_is_held(lease)))
		consumer_refuse(call, lane, lease);
}

/* ---------- pm.extend, pm.release ---------- */

/*
 * The lanes that the consumer held when this was called, as read without a lock.
 */
static List *
consumer_lanes(const ConsumerCall *call)
{
	List *lanes = NIL;

	for (int lane = 0; lane < call->pm->lanes; lane++)
	{
		Lease lease;

		lease_read(call->pm, lane, &lease);
		if (lease_is_of(&lease, call->consumer))
			lanes = lappend_int(lanes, lane);
	}
	return lanes;
}

/*
 * pm.extend(name, consumer): when its leases run out now
 */
Datum
pm_extend(PG_FUNCTION_ARGS)
{
	ConsumerCall call;
	TimestampTz until = 0;
	ListCell *lc;

	consumer_begin(&call, fcinfo, "pm.extend", 0, 1);
	foreach(lc, consumer_lanes(&call))
	{
		int lane = lfirst_int(lc);
		bool mine = manager_lock_is_mine(call.pm->id, lane);
		Lease lease;

		consumer_lock_unit(&call, lane);
		lease_read(call.pm, lane, &lease);
		/* Leave out a lane that the consumer has lost meanwhile. */
		if (!lease_is_of(&lease, call.consumer) || !(mine || lease_is_held(&lease)))
			continue;
		if (until == 0)
			until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), call.pm->lease);
		lease.until = until;
		lease_write(&lease);
	}
	if (until == 0)
		ereport(ERROR, (errcode(ERRCODE_PM_LEASE_LOST),
						errmsg("consumer \"%s\" holds no lane of process manager \"%s\"",
							   call.consumer, call.name),
						errhint("Call pm.fetch. Events that were not advanced are fetched "
								"again.")));
	PG_RETURN_TIMESTAMPTZ(until);
}

/*
 * pm.release(name, consumer)
 */
Datum
pm_release(PG_FUNCTION_ARGS)
{
	ConsumerCall call;
	ListCell *lc;

	consumer_begin(&call, fcinfo, "pm.release", 0, 1);
	foreach(lc, consumer_lanes(&call))
	{
		int lane = lfirst_int(lc);
		bool mine = manager_lock_is_mine(call.pm->id, lane);
		Lease lease;

		consumer_lock_unit(&call, lane);
		lease_read(call.pm, lane, &lease);
		/*
		 * Leave out a lease that has run out: a try is counted for what was fetched
		 * under it.
		 */
		if (!lease_is_of(&lease, call.consumer) || !(mine || lease_is_held(&lease)))
			continue;
		lease_give_up(&lease, 0);
		lease_write(&lease);
		wakeup_fetchers(call.pm->id);
	}
	PG_RETURN_VOID();
}
