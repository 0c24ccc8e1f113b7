/*
 * by_hand.c
 *		pm.end_instance and pm.set_state: what a person changes of one instance.
 *
 * They wait for the running batch of the instance's unit, and keep further batches of it from
 * running until their transaction ends, so that events are handled either before or after the
 * change.  Each change is written, with its role and reason, into the journal of the instance,
 * whether its process manager has a journal or not, and into the server's log.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/report.h"
#include "base/version.h"
#include "base/within.h"
#include "manager/association.h"
#include "manager/head.h"
#include "manager/journal.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/timer.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_end_instance);
PG_FUNCTION_INFO_V1(pm_set_state);

/* An instance that a person changes. */
typedef struct ByHand
{
	ProcessManager *pm; /* with the unit of the instance locked */
	int lane;
	char *key;
	char *reason;
	char *role;
	TimestampTz now;
	bool found; /* there is an instance */
	TimestampTz started_at;
	int64 entries; /* of its journal so far */
	Datum state;   /* 0: none */
} ByHand;

/*
 * Reads the arguments that both functions have, and locks the unit.
 */
static ByHand
by_hand_begin(FunctionCallInfo fcinfo, const char *function, int reason_arg)
{
	ByHand hand = {0};

	argument_not_null(fcinfo, 0, "name");
	argument_not_null(fcinfo, 1, "key");
	argument_not_null(fcinfo, reason_arg, "reason");
	version_require("0.2.0", function);
	hand.key = key_stored_name(PG_GETARG_DATUM(1));
	hand.reason = text_to_cstring(PG_GETARG_TEXT_PP(reason_arg));
	hand.pm = manager_lock_key(function, text_to_cstring(PG_GETARG_TEXT_PP(0)), hand.key,
							   &hand.lane);
	if (hand.pm->kind != HANDLER_INSTANCE)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("process manager \"%s\" keeps no instances", hand.pm->name),
						errdetail("Its handler %s is not a function f(pm.event, jsonb).",
								  hand.pm->handler),
						errhint("Decide about its parked events with pm.retry and pm.discard.")));
	hand.role = GetUserNameFromId(GetUserId(), false);
	hand.now = within_time();
	return hand;
}

/*
 * Runs a statement on the row of the instance that returns started_at, the number of
 * entries that there were before, and the state.
 */
static void
by_hand_change(ByHand *hand, ExecStatement *statement, Datum state)
{
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	Datum values[4] = {CStringGetTextDatum(hand->pm->name), CStringGetTextDatum(hand->key), state,
					   TimestampTzGetDatum(hand->now)};
	bool isnull;

	exec_begin_owner(&scope);
	hand->found = exec_statement(statement, values, NULL) > 0;
	if (hand->found)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		hand->started_at = DatumGetTimestampTz(exec_value(0, 1, &isnull));
		hand->entries = DatumGetInt64(exec_value(0, 2, &isnull));
		hand->state = PointerGetDatum(PG_DETOAST_DATUM_COPY(exec_value(0, 3, &isnull)));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
}

/*
 * Writes the entry into the journal, and the instance that has ended, if ended
 * instances are kept.
 */
static void
by_hand_record(const ByHand *hand, Datum state, bool ended)
{
	JournalEntry entry = {.key = hand->key,
						  .started_at = hand->started_at,
						  .seq = hand->entries + 1,
						  .handled_at = hand->now,
						  .state = state,
						  .by = hand->role,
						  .reason = hand->reason};
	JournalEnd end = {.key = hand->key,
					  .started_at = hand->started_at,
					  .ended_at = hand->now,
					  .state = hand->state,
					  .by = hand->role,
					  .reason = hand->reason};
	Journal journal;

	journal_begin_always(&journal, hand->pm);
	journal_add(&journal, &entry);
	if (ended && journal.ends)
		journal_end(&journal, &end);
	journal_save(&journal);
}

/*
 * Writes to the server's log who has done what.
 */
static void
by_hand_say(const ByHand *hand, bool ended)
{
	const char *key = report_cut(hand->key, REPORT_LOGGED);
	const char *reason = report_cut(hand->reason, REPORT_LOGGED);

	if (!report_may(hand->pm->owner, REPORT_OUTCOME))
		return;
	ereport(LOG, (ended ? errmsg("process manager \"%s\" in database \"%s\": the instance of key "
								 "\"%s\" was ended by \"%s\": %s",
								 hand->pm->name, report_database(), key, hand->role, reason) :
						  errmsg("process manager \"%s\" in database \"%s\": the state of key "
								 "\"%s\" was set by \"%s\": %s",
								 hand->pm->name, report_database(), key, hand->role, reason)));
}

/*
 * Deletes the parked events and timers of the key.  Returns how many.
 */
static uint64
by_hand_discard(const ByHand *hand)
{
	static ExecStatement discard =
		{NULL,
		 "DELETE FROM pm_catalog.parked WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND lane OPERATOR(pg_catalog.=) $2 AND key OPERATOR(pg_catalog.=) $3",
		 3,
		 {TEXTOID, INT4OID, TEXTOID}};
	Datum values[3];

	exec_unit_args(values, hand->pm->name, hand->lane);
	values[2] = CStringGetTextDatum(hand->key);
	return exec_as_owner(&discard, values, NULL);
}

/*
 * pm.end_instance(name, key, reason)
 */
Datum
pm_end_instance(PG_FUNCTION_ARGS)
{
	static ExecStatement delete_instance =
		{NULL,
		 "DELETE FROM pm_catalog.instance WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND key OPERATOR(pg_catalog.=) $2 RETURNING started_at, entries, state",
		 2,
		 {TEXTOID, TEXTOID}};
	ByHand hand = by_hand_begin(fcinfo, "pm.end_instance", 2);
	uint64 parked;

	by_hand_change(&hand, &delete_instance, (Datum) 0);
	parked = by_hand_discard(&hand);
	if (!hand.found && parked == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("process manager \"%s\" has no instance with key \"%s\"",
							   hand.pm->name, hand.key),
						errhint("SELECT key FROM pm.instance shows the keys that have one.")));
	head_forget(hand.pm->name, hand.lane);
	timer_end(hand.pm, hand.lane, hand.key);
	association_end(hand.pm, hand.lane, hand.key);
	lane_touch(hand.pm->name, hand.lane);
	/* Sessions in pm.wait_for look again, since events have left the queues. */
	wakeup_moved();
	by_hand_record(&hand, (Datum) 0, hand.found);
	by_hand_say(&hand, true);
	PG_RETURN_VOID();
}

/*
 * pm.set_state(name, key, state, reason)
 */
Datum
pm_set_state(PG_FUNCTION_ARGS)
{
	static ExecStatement update_instance =
		{NULL,
		 "UPDATE pm_catalog.instance SET state = $3, updated_at = $4, "
		 "entries = entries OPERATOR(pg_catalog.+) 1 "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2 "
		 "RETURNING started_at, entries OPERATOR(pg_catalog.-) 1, state",
		 4,
		 {TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID}};
	static ExecStatement insert_instance =
		{NULL,
		 "INSERT INTO pm_catalog.instance "
		 "(process_manager, key, state, started_at, updated_at, entries) "
		 "VALUES ($1, $2, $3, $4, $4, 1) "
		 "RETURNING started_at, entries OPERATOR(pg_catalog.-) 1, state",
		 4,
		 {TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID}};
	ByHand hand;

	if (PG_NARGS() > 2 && PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("state must not be null"),
						errhint("To end the instance, call pm.end_instance.")));
	hand = by_hand_begin(fcinfo, "pm.set_state", 3);
	by_hand_change(&hand, &update_instance, PG_GETARG_DATUM(2));
	if (!hand.found)
	{
		by_hand_change(&hand, &insert_instance, PG_GETARG_DATUM(2));
		ereport(NOTICE, (errmsg("key \"%s\" had no instance: one begins now", hand.key)));
	}
	by_hand_record(&hand, PG_GETARG_DATUM(2), false);
	by_hand_say(&hand, false);
	PG_RETURN_VOID();
}
