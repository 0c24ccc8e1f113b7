/*
 * register.c
 *		pm.register: adds a process manager, or changes an existing one; pm.alter: changes
 *		only what is named.
 *
 * The user who adds a process manager becomes its owner.  The process manager
 * runs as that role, so all rights are checked for the owner.
 *
 * Assumes that a process manager is only changed by a transaction that holds
 * the locks of all its units.  So an existing process manager stays as it is
 * from manager_lock() to the end of the transaction.
 */
#include "pm.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/within.h"
#include "log/appends.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "manager/advice.h"
#include "manager/consumer_role.h"
#include "manager/cursor_change.h"
#include "manager/follow.h"
#include "manager/handler_find.h"
#include "manager/kept.h"
#include "manager/lane.h"
#include "manager/lease.h"
#include "manager/manager_lock.h"
#include "manager/owner_check.h"
#include "manager/park_queue.h"
#include "manager/register_args.h"
#include "manager/register_consumer.h"
#include "manager/registration.h"
#include "manager/repartition.h"
#include "manager/shell_type.h"
#include "manager/unattended.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_register);
PG_FUNCTION_INFO_V1(pm_alter);

/* What the call will do, according to its arguments and the catalogs. */
typedef struct RegisterPlan
{
	RegisterArgs args;
	List *logs;			 /* to be followed, each by its name in the catalog, once */
	ProcessManager *old; /* what is changed, with its units locked; NULL: it is added */
	Registration stored; /* its row, for pm.alter */
	Oid owner;
	char *handler;
	HandlerKind kind;
	Oid handler_owner;
	char *correlate; /* NULL: the stream */
	Oid correlate_owner;
} RegisterPlan;

/* ---------- what exists already ---------- */

/*
 * Waits for the tables of logs that are to be followed as well, before the
 * units are locked.  Otherwise a session that holds such a table would keep the
 * process manager's other logs from being handled.
 */
static void
register_await_logs(const RegisterPlan *plan)
{
	ProcessManager *pm = registry_get(plan->args.name, true);
	ListCell *lc;

	if (pm == NULL)
		return;
	registry_require_owner(pm);
	foreach(lc, plan->logs)
		if (!follow_has(pm->logs, lfirst(lc)))
			(void) log_open_as(lfirst(lc), pm->owner);
}

/*
 * A log that is not in the argument "logs" may have been left out by mistake.
 * Users who want to stop following it must call pm.unfollow.
 */
static void
register_check_logs(const RegisterPlan *plan)
{
	ListCell *lc;

	foreach(lc, plan->old->logs)
	{
		const char *log = lfirst(lc);

		if (!follow_has(plan->logs, log))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("logs must name log \"%s\", which process manager \"%s\" follows", log,
							plan->args.name),
					 errhint("Name it too, or stop following it with SELECT pm.unfollow(%s, %s).",
							 quote_literal_cstr(plan->args.name), quote_literal_cstr(log))));
	}
}

static bool
register_same_correlate(const RegisterPlan *plan)
{
	const char *before = plan->old->correlate;
	const char *now = plan->correlate;

	return before == NULL || now == NULL ? before == now : strcmp(before, now) == 0;
}

/*
 * Refuses another correlate function.  The usual reason is that it was left out
 * by accident, so the hint begins with that.
 */
static void
register_refuse_correlate(const ProcessManager *old, const Kept *kept)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("process manager \"%s\" cannot change to another correlate function",
					old->name),
			 old->correlate != NULL ?
				 errdetail("So far it is %s. There are instances: %lld, timers: %lld, "
						   "parked events: %lld.",
						   old->correlate, (long long) kept->instances, (long long) kept->timers,
						   (long long) kept->parked) :
				 errdetail("So far it has none. There are instances: %lld, timers: %lld, "
						   "parked events: %lld.",
						   (long long) kept->instances, (long long) kept->timers,
						   (long long) kept->parked),
			 old->correlate != NULL ?
				 errhint("Name it again with correlate => %s, or register under another name. "
						 "Only pm.seek with reset => true, which deletes them, allows the change.",
						 quote_literal_cstr(old->correlate)) :
				 errhint("Omit correlate, or register under another name. Only pm.seek with "
						 "reset => true, which deletes them, allows the change.")));
}

/*
 * Refuses functions that do not fit what is kept.  Instances, timers and parked
 * events are kept for the keys that the old correlate function returned, and
 * states are for handlers that take them.
 */
static void
register_check_functions(const RegisterPlan *plan)
{
	ProcessManager *old = plan->old;
	bool same_keys = register_same_correlate(plan);
	Kept kept;

	/*
	 * Whether an event has been handled depends on the lane of its key, and the
	 * lanes are at different positions.
	 */
	if (!same_keys && !cursor_level(old))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("process manager \"%s\" cannot change to another correlate function "
						"while its lanes are at different positions",
						old->name),
				 errdetail("Each has handled the events of its keys up to a different position."),
				 errhint("Try again when it has caught up, or register it under another name.")));
	if (same_keys && (plan->kind == HANDLER_INSTANCE) == (old->kind == HANDLER_INSTANCE))
		return;
	kept = kept_count(old->name);
	if (!kept_any(&kept))
		return;
	if (!same_keys)
		register_refuse_correlate(old, &kept);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("process manager \"%s\" cannot change to this kind of handler", old->name),
			 errdetail("It has instances: %lld, timers: %lld, parked events: %lld.",
					   (long long) kept.instances, (long long) kept.timers,
					   (long long) kept.parked),
			 errhint("Register under another name. "
					 "Only pm.seek with reset => true, which deletes them, allows the change.")));
}

/* ---------- the functions and the row ---------- */

/*
 * Finds the functions that are named, and checks them.  Those that pm.alter does not
 * name stay as they are, even if they do not exist now.
 */
static void
register_resolve_functions(RegisterPlan *plan)
{
	ProcessManager *old = plan->old;
	const char *correlate = plan->args.correlate;
	/* With lanes, or while former lanes count, the key of an event must not change. */
	bool lanes = plan->args.lanes > 1 || (old != NULL && (old->lanes > 1 || !cursor_level(old)));

	if (register_args_has(&plan->args, REGISTER_ARG_HANDLER) && plan->args.handler == NULL)
	{
		/* Consumers can keep instances, as a handler f(pm.event, jsonb) does. */
		plan->handler = NULL;
		plan->kind = HANDLER_INSTANCE;
	}
	else if (register_args_has(&plan->args, REGISTER_ARG_HANDLER))
		plan->handler = handler_find(plan->args.handler, plan->owner, &plan->kind,
									 &plan->handler_owner);
	else
	{
		plan->handler = old->handler;
		plan->kind = old->kind;
	}
	if (!register_args_has(&plan->args, REGISTER_ARG_CORRELATE))
	{
		plan->correlate = old->correlate;
		/* The function that stays must fit several lanes as well. */
		correlate = plan->args.lanes > old->lanes ? old->correlate : NULL;
	}
	if (correlate != NULL)
		plan->correlate = handler_find_correlate(correlate, plan->owner, plan->kind, lanes,
												 &plan->correlate_owner);
}

/*
 * Only instances end, and have journals.
 */
static void
register_check_kind(const RegisterPlan *plan)
{
	const RegisterArgs *args = &plan->args;
	bool keeps = register_args_has(args, REGISTER_ARG_KEEP_ENDED) ? args->keep_ended != NULL :
																	plan->old->keep_ended >= 0;
	bool journal = register_args_has(args, REGISTER_ARG_JOURNAL) ? args->journal :
																   plan->old->journal;

	if (plan->kind == HANDLER_INSTANCE || !(keeps || journal))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 keeps ? errmsg("keep_ended needs a handler that keeps instances") :
					 errmsg("a journal needs a handler that keeps instances"),
			 errdetail("%s is not a function f(pm.event, jsonb) RETURNS jsonb.", plan->handler),
			 errhint("Omit keep_ended and journal. In pm.alter, reset => '{keep_ended,journal}' "
					 "removes them.")));
}

/*
 * Finds the owner and the functions, and checks both.
 */
static void
register_resolve(RegisterPlan *plan)
{
	ProcessManager *old = plan->old;

	if (old != NULL)
	{
		register_check_logs(plan);
		owner_check(old);
		plan->owner = old->owner;
	}
	else
	{
		owner_check_role(GetUserId());
		plan->owner = GetUserId();
	}
	register_resolve_functions(plan);
	register_check_kind(plan);
	if (plan->handler != NULL)
		register_consumer_refuse(register_args_has(&plan->args, REGISTER_ARG_CONSUMERS) ?
									 plan->args.consumers :
									 old->consumers);
	if (old != NULL)
		register_check_functions(plan);
}

/*
 * Sets the columns of the handler and the correlate function, as far as they are named.
 */
static void
register_set_functions(const RegisterPlan *plan, Registration *row)
{
	Datum *values = row->values;

	if (register_args_has(&plan->args, REGISTER_ARG_HANDLER))
	{
		row->nulls[REGISTRATION_HANDLER] = row->nulls[REGISTRATION_HANDLER_OWNER] = plan->handler ==
																					NULL;
		if (plan->handler != NULL)
			values[REGISTRATION_HANDLER] = CStringGetTextDatum(plan->handler);
		values[REGISTRATION_HANDLER_KIND] = CharGetDatum((char) plan->kind);
		values[REGISTRATION_HANDLER_OWNER] = ObjectIdGetDatum(plan->handler_owner);
	}
	if (!register_args_has(&plan->args, REGISTER_ARG_CORRELATE))
		return;
	row->nulls[REGISTRATION_CORRELATE] = plan->correlate == NULL;
	row->nulls[REGISTRATION_CORRELATE_OWNER] = plan->correlate == NULL;
	if (plan->correlate != NULL)
	{
		values[REGISTRATION_CORRELATE] = CStringGetTextDatum(plan->correlate);
		values[REGISTRATION_CORRELATE_OWNER] = ObjectIdGetDatum(plan->correlate_owner);
	}
}

/*
 * Sets a column, if its argument is to be written.  With no value, it becomes NULL.
 */
static void
register_set(const RegisterPlan *plan, RegisterArg arg, Registration *row,
			 RegistrationColumn column, Datum value, bool isnull)
{
	if (!register_args_has(&plan->args, arg))
		return;
	row->values[column] = value;
	row->nulls[column] = isnull;
}

static void
register_set_settings(const RegisterPlan *plan, Registration *row)
{
	const RegisterArgs *args = &plan->args;

	register_set(plan, REGISTER_ARG_TYPES, row, REGISTRATION_TYPES, args->types,
				 args->types == (Datum) 0);
	if (args->on_failure != NULL)
		register_set(plan, REGISTER_ARG_ON_FAILURE, row, REGISTRATION_ON_FAILURE,
					 CStringGetTextDatum(args->on_failure), false);
	register_set(plan, REGISTER_ARG_MAX_ATTEMPTS, row, REGISTRATION_MAX_ATTEMPTS,
				 Int32GetDatum(args->max_attempts), false);
	register_set(plan, REGISTER_ARG_BACKOFF, row, REGISTRATION_BACKOFF,
				 IntervalPGetDatum(args->backoff), false);
	register_set(plan, REGISTER_ARG_HANDLER_TIMEOUT, row, REGISTRATION_HANDLER_TIMEOUT,
				 IntervalPGetDatum(args->handler_timeout), false);
	register_set(plan, REGISTER_ARG_BATCH_SIZE, row, REGISTRATION_BATCH_SIZE,
				 Int32GetDatum(args->batch_size), false);
	register_set(plan, REGISTER_ARG_LANES, row, REGISTRATION_LANES, Int32GetDatum(args->lanes),
				 false);
	register_set(plan, REGISTER_ARG_PARK_LIMIT, row, REGISTRATION_PARK_LIMIT,
				 Int32GetDatum(args->park_limit), false);
	register_set(plan, REGISTER_ARG_KEEP_ENDED, row, REGISTRATION_KEEP_ENDED,
				 IntervalPGetDatum(args->keep_ended), args->keep_ended == NULL);
	register_set(plan, REGISTER_ARG_JOURNAL, row, REGISTRATION_JOURNAL, BoolGetDatum(args->journal),
				 false);
	register_set(plan, REGISTER_ARG_LEASE, row, REGISTRATION_LEASE, IntervalPGetDatum(args->lease),
				 false);
	register_set(plan, REGISTER_ARG_CONSUMERS, row, REGISTRATION_CONSUMERS,
				 register_consumer_oids(args->consumers), args->consumers == NIL);
	register_set(plan, REGISTER_ARG_CONSUMERS, row, REGISTRATION_CONSUMER_NAMES,
				 register_consumer_names(args->consumers), args->consumers == NIL);
	register_set(plan, REGISTER_ARG_CARRY, row, REGISTRATION_CARRY, args->carry,
				 args->carry == (Datum) 0);
}

/*
 * Writes the row.  False if the row was added or deleted by another session
 * meanwhile.
 */
static bool
register_write(const RegisterPlan *plan)
{
	Registration row = plan->stored;
	NameData owner_name;

	namestrcpy(&owner_name, GetUserNameFromId(plan->owner, false));
	row.values[REGISTRATION_NAME] = CStringGetTextDatum(plan->args.name);
	row.values[REGISTRATION_OWNER] = ObjectIdGetDatum(plan->owner);
	row.values[REGISTRATION_OWNER_NAME] = NameGetDatum(&owner_name);
	register_set_functions(plan, &row);
	register_set_settings(plan, &row);
	row.values[REGISTRATION_SYSTEM_IDENTIFIER] = Int64GetDatum((int64) GetSystemIdentifier());
	row.values[REGISTRATION_DATABASE] = ObjectIdGetDatum(MyDatabaseId);
	return plan->old != NULL ? registration_update(&row) : registration_insert(&row);
}

/* ---------- lanes and logs ---------- */

/*
 * An event that waits for a retry is tried at once, with the new settings.  A
 * halt remains, until pm.resume.
 */
static void
register_retry(ProcessManager *pm)
{
	for (int lane = 0; lane < pm->lanes; lane++)
	{
		LaneState state;

		lane_state(pm, lane, &state);
		if (state.status == LANE_RETRYING || state.status == LANE_PARKING ||
			state.status == LANE_WAITING)
			lane_clear(pm->name, lane);
		park_retry_all(pm, lane, 0);
	}
}

/*
 * Changes the lanes and the cursors as the arguments say.
 */
static void
register_lanes_and_logs(const RegisterPlan *plan)
{
	const RegisterArgs *args = &plan->args;
	ProcessManager *old = plan->old;

	if (old == NULL)
		lane_add(args->name, 0, args->lanes);
	else
	{
		register_retry(old);
		if (!plan->handler || !old->handler || strcmp(plan->handler, old->handler) != 0)
			appends_forget_manager(args->name);
		if (args->lanes != old->lanes)
			repartition(old, args->lanes);
		/*
		 * Events that were fetched from a lane may now belong to another one, or go to a
		 * handler.
		 */
		if (args->lanes != old->lanes || plan->handler != NULL)
			lease_void(old);
		repartition_drop_passed(old);
	}
	follow_begin(args->name, plan->owner, old == NULL ? NIL : old->logs, plan->logs, args->lanes,
				 args->start_at);
}

/*
 * Called when the row has been written: all that follows from it.
 */
static void
register_finish(const RegisterPlan *plan)
{
	const RegisterArgs *args = &plan->args;

	shell_type_record(args->name, plan->owner);
	consumer_role_record(args->name);
	register_lanes_and_logs(plan);
	registry_changed();
	wakeup_announce();
	if (plan->handler == NULL)
		return;
	if (register_args_has(args, REGISTER_ARG_HANDLER) ||
		register_args_has(args, REGISTER_ARG_CORRELATE))
		advice_warn_path(args->name, plan->handler, plan->correlate, plan->owner);
}

/*
 * pm.register(name, handler, logs, ...), with the arguments in register_args.c
 */
Datum
pm_register(PG_FUNCTION_ARGS)
{
	RegisterPlan plan = {0};

	highwater_require_fresh_snapshots("pm.register");
	exec_require_writable("pm.register");
	register_args_read(fcinfo, &plan.args);
	within_refuse(plan.args.name);
	plan.logs = follow_find(plan.args.logs);
	for (;;)
	{
		register_await_logs(&plan);
		plan.old = manager_lock(plan.args.name, true);
		register_resolve(&plan);
		if (register_write(&plan))
			break;
		/* Another session has added or unregistered a process manager of this name meanwhile. */
		CHECK_FOR_INTERRUPTS();
	}
	/* Consumers need no worker. */
	if (plan.handler != NULL)
		unattended_warn(plan.args.name);
	register_finish(&plan);
	PG_RETURN_VOID();
}

/*
 * pm.alter(name, the arguments of pm.register, reset)
 */
Datum
pm_alter(PG_FUNCTION_ARGS)
{
	RegisterPlan plan = {0};

	highwater_require_fresh_snapshots("pm.alter");
	exec_require_writable("pm.alter");
	register_args_read_changes(fcinfo, &plan.args);
	within_refuse(plan.args.name);
	plan.logs = follow_find(plan.args.logs);
	register_await_logs(&plan);
	plan.old = manager_lock(plan.args.name, false);
	if (!registration_copy(plan.args.name, &plan.stored))
		elog(ERROR, "process manager \"%s\" has no row", plan.args.name);
	/* What is not named stays as it is. */
	if (!register_args_has(&plan.args, REGISTER_ARG_LOGS))
		plan.logs = plan.old->logs;
	if (!register_args_has(&plan.args, REGISTER_ARG_LANES))
		plan.args.lanes = plan.old->lanes;
	register_resolve(&plan);
	if (!register_write(&plan))
		elog(ERROR, "the row of process manager \"%s\" is gone", plan.args.name);
	register_finish(&plan);
	PG_RETURN_VOID();
}
