/*
 * register.c
 *		pm.register: the arguments, the owner, where to start.
 *
 * Who registers becomes the owner, and everything the process manager will do
 * it does as that role; so all rights are looked at as the owner's.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/exec.h"
#include "base/guc.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_adopt.h"
#include "log/log_index.h"
#include "log/log_open.h"
#include "log/log_trouble.h"
#include "manager/advice.h"
#include "manager/control.h"
#include "manager/cursor.h"
#include "manager/handler_find.h"
#include "manager/lane.h"
#include "manager/manager_lock.h"
#include "manager/owner.h"
#include "manager/park_queue.h"
#include "manager/register.h"
#include "manager/repartition.h"
#include "shmem/slot.h"
#include "shmem/wakeup.h"

#define REGISTER_MAX_BATCH 100000
#define REGISTER_MAX_LANES 256
#define START_HINT                                                                                 \
	"Give start_at => 'beginning', 'end', a position (handling begins after it) or a timestamp."

PG_FUNCTION_INFO_V1(pm_register);

/* ---------- checking arguments ---------- */

static void
register_invalid(const char *message, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", message),
					hint ? errhint("%s", hint) : 0));
}

static void
register_not_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

static void
register_check_name(const char *name)
{
	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("invalid name of a process manager: \"%s\"", name),
						errhint("It has 1 to %d bytes.", NAMEDATALEN - 1)));
}

static void
register_check_int(FunctionCallInfo fcinfo, int arg, const char *name, int min, int max)
{
	register_not_null(fcinfo, arg, name);
	if (PG_GETARG_INT32(arg) < min || PG_GETARG_INT32(arg) > max)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be between %d and %d", name, min, max)));
}

static void
register_check_interval(FunctionCallInfo fcinfo, int arg, const char *name, bool zero_ok)
{
	Interval *interval;

	register_not_null(fcinfo, arg, name);
	interval = PG_GETARG_INTERVAL_P(arg);
	if (interval->month != 0 || interval->day != 0 || interval->time < 0 ||
		(interval->time < 1000 && !(zero_ok && interval->time == 0)) ||
		interval->time > USECS_PER_DAY)
		register_invalid(psprintf("%s must be between %s and 24 hours", name,
								  zero_ok ? "0" : "1 ms"),
						 NULL);
}

/*
 * The names in a text[] argument, each once, no NULLs.
 */
static List *
register_names(Datum array, const char *what)
{
	Datum *elements;
	bool *nulls;
	int count;
	List *names = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("%s must not contain nulls", what)));
		names = lappend(names, TextDatumGetCString(elements[i]));
	}
	return names;
}

bool
register_in(List *names, const char *name)
{
	ListCell *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

/*
 * The owner must be able to log in: its dispatcher's session is its own.
 */
void
register_check_owner(Oid owner)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	Form_pg_authid role;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role with OID %u does not exist", owner)));
	role = (Form_pg_authid) GETSTRUCT(tuple);
	if (!role->rolcanlogin)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("role \"%s\" is not permitted to log in", NameStr(role->rolname)),
			 errdetail("A process manager runs in sessions of the role that registers it."),
			 errhint(
				 "Run ALTER ROLE %s LOGIN (a password is not needed), or register as a role that can log in.",
				 quote_identifier(NameStr(role->rolname)))));
	if (compat_database_aclcheck(MyDatabaseId, owner, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to this database", NameStr(role->rolname)),
				 errhint("Run GRANT CONNECT ON DATABASE ... TO %s.",
						 quote_identifier(NameStr(role->rolname)))));
	ReleaseSysCache(tuple);
}

/*
 * The same for the owner of one that exists.
 */
void
register_require_owner(ProcessManager *pm)
{
	if (!OidIsValid(pm->owner))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role \"%s\", the owner of process manager \"%s\", does not exist",
					pm->owner_name, pm->name),
			 errhint("A superuser can give it to another role with SELECT pm.set_owner(%s, ...).",
					 quote_literal_cstr(pm->name))));
	register_check_owner(pm->owner);
}

void
register_warn_unattended(const char *name)
{
	if (Slots == NULL)
		ereport(
			WARNING,
			(errmsg("no worker will run process manager \"%s\"", name),
			 errdetail("The library of pm is not preloaded."),
			 errhint(
				 "Add pm to shared_preload_libraries and restart the server, or call pm.catch_up now and then.")));
	else if (!guc_launcher)
		ereport(WARNING,
				(errmsg("no worker will run process manager \"%s\"", name),
				 errdetail("pm.launcher is off."),
				 errhint("Set pm.launcher = on and reload, or call pm.catch_up now and then.")));
}

/* ---------- where to start ---------- */

/*
 * Reads start_at as a timestamp.
 */
static Datum
register_timestamp(const char *start_at)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum result = (Datum) 0;

	PG_TRY();
	{
		result = DirectFunctionCall3(timestamptz_in, CStringGetDatum(start_at),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	}
	PG_CATCH();
	{
		/* It has done nothing that would have to be undone. */
		MemoryContextSwitchTo(caller);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		register_invalid(psprintf("invalid start_at: \"%s\"", start_at), START_HINT);
	}
	PG_END_TRY();
	return result;
}

/*
 * Is start_at something that can be meant?
 */
static void
register_check_start(const char *start_at)
{
	size_t digits = strspn(start_at, "+-0123456789");

	if (strcmp(start_at, "beginning") != 0 && strcmp(start_at, "end") != 0 &&
		(digits == 0 || start_at[digits] != '\0'))
		(void) register_timestamp(start_at);
}

/*
 * The position after which a process manager starts to handle a log it has not
 * followed so far.
 */
static int64
register_start(PmLog *log, const char *start_at)
{
	Highwater mark;
	int64 position;
	char *end;

	if (start_at == NULL)
	{
		if (log_index_last(log, PG_INT64_MIN, &position, NULL))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("log \"%s\" already has events", log->name), errhint(START_HINT)));
		return 0;
	}
	if (strcmp(start_at, "beginning") == 0)
		return 0;

	/*
	 * What is above the mark is not settled yet: it will be handled, even
	 * from 'end'.
	 */
	mark = highwater_await(log->relid, log->seqid, HIGHWATER_OWN, log->name);
	if (strcmp(start_at, "end") == 0)
		return mark.mark;

	errno = 0;
	position = strtoll(start_at, &end, 10);
	if (end != start_at && *end == '\0')
	{
		if (errno != 0 || position < 0 || position > mark.mark)
			register_invalid(
				psprintf("position %s is not between 0 and the high-water mark of log \"%s\"",
						 start_at, log->name),
				psprintf("The high-water mark is %lld.", (long long) mark.mark));
		return position;
	}

	if (!log_index_since(log, DatumGetTimestampTz(register_timestamp(start_at)), &position))
		return mark.mark;
	return Min(position - 1, mark.mark);
}

/*
 * Begins to follow a log.  The lock keeps pm.trim away until it is known from
 * where, and nobody else who follows the log.
 */
static void
register_follow(const char *manager, Oid owner, const char *log_name, int lanes,
				const char *start_at)
{
	PmLog *log = log_open_as(log_name, owner);

	log_require_whole(log);
	log_require_select(log, owner);
	if (!log->at_home)
	{
		/* Copied, and used here from now on. */
		(void) log_adopt(log->name, false);
		CommandCounterIncrement();
		log = log_open(log_name);
	}
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, RowExclusiveLock);
	cursor_add(manager, log->name, lanes, register_start(log, start_at));
	owner_follow(manager, log->relid);
}

/*
 * Waits for the tables of logs that are to be followed as well, before the units
 * are taken: nobody who holds such a table keeps the others from being handled.
 */
static void
register_await(ProcessManager *pm, List *logs)
{
	ListCell *lc;

	if (pm == NULL)
		return;
	registry_require_owner(pm);
	foreach(lc, logs)
		if (!register_in(pm->logs, lfirst(lc)))
			(void) log_open_as(lfirst(lc), pm->owner);
}

/* ---------- pm.register ---------- */

/*
 * Writes the registration: changes the one that there is, whose units the
 * caller has locked, or adds it.  False when another session adds one of that
 * name first, which is waited for here, and only for that name.
 */
static bool
register_write(bool change, FunctionCallInfo fcinfo, const char *name, Oid owner,
			   const char *handler, HandlerKind kind, Oid handler_owner, const char *correlate,
			   Oid correlate_owner)
{
	static ExecStatement add = {
		NULL,
		"INSERT INTO pm_catalog.process_manager (name, owner, owner_name, handler, handler_kind, types, on_failure, "
		"max_attempts, backoff, handler_timeout, batch_size, lanes, park_limit, system_identifier, database, correlate, "
		"handler_owner, correlate_owner) "
		"VALUES ($1, $2, $3::pg_catalog.name, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) "
		"ON CONFLICT (name) DO NOTHING",
		18,
		{TEXTOID, OIDOID, TEXTOID, TEXTOID, CHAROID, TEXTARRAYOID, TEXTOID, INT4OID, INTERVALOID,
		 INTERVALOID, INT4OID, INT4OID, INT4OID, INT8OID, OIDOID, TEXTOID, OIDOID, OIDOID}};
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager SET handler = $4, handler_kind = $5, types = $6, on_failure = $7, "
		"max_attempts = $8, backoff = $9, handler_timeout = $10, batch_size = $11, lanes = $12, park_limit = $13, "
		"correlate = $16, handler_owner = $17, correlate_owner = $18 WHERE name OPERATOR(pg_catalog.=) $1",
		18,
		{TEXTOID, OIDOID, TEXTOID, TEXTOID, CHAROID, TEXTARRAYOID, TEXTOID, INT4OID, INTERVALOID,
		 INTERVALOID, INT4OID, INT4OID, INT4OID, INT8OID, OIDOID, TEXTOID, OIDOID, OIDOID}};
	Datum values[18];
	char nulls[18];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(owner);
	values[2] = CStringGetTextDatum(GetUserNameFromId(owner, false));
	values[3] = CStringGetTextDatum(handler);
	values[4] = CharGetDatum((char) kind);
	values[5] = PG_GETARG_DATUM(4);
	nulls[5] = PG_ARGISNULL(4) ? 'n' : ' ';
	values[6] = PG_GETARG_DATUM(6);
	values[7] = PG_GETARG_DATUM(7);
	values[8] = PG_GETARG_DATUM(8);
	values[9] = PG_GETARG_DATUM(9);
	values[10] = PG_GETARG_DATUM(10);
	values[11] = PG_GETARG_DATUM(11);
	values[12] = PG_GETARG_DATUM(12);
	values[13] = Int64GetDatum((int64) GetSystemIdentifier());
	values[14] = ObjectIdGetDatum(MyDatabaseId);
	nulls[15] = correlate ? ' ' : 'n';
	values[15] = correlate ? CStringGetTextDatum(correlate) : (Datum) 0;
	values[16] = ObjectIdGetDatum(handler_owner);
	nulls[17] = nulls[15];
	values[17] = ObjectIdGetDatum(correlate_owner);
	return exec_as_owner(change ? &update : &add, values, nulls) == 1;
}

/*
 * With new settings, what is being retried is tried afresh.  A halt stays.
 */
static void
register_retry(ProcessManager *pm)
{
	LaneState state;

	for (int lane = 0; lane < pm->lanes; lane++)
	{
		lane_state(pm, lane, &state);
		if (state.status == LANE_RETRYING || state.status == LANE_PARKING ||
			state.status == LANE_WAITING)
			lane_clear(pm->name, lane);
		park_retry_all(pm, lane, 0);
	}
}

/*
 * What is kept for keys is kept for what correlate calls keys, and states are
 * for handlers that have them.
 */
static void
register_check_change(ProcessManager *old, HandlerKind kind, const char *correlate)
{
	bool same_keys = old->correlate == NULL || correlate == NULL ?
						 old->correlate == correlate :
						 strcmp(old->correlate, correlate) == 0;
	ControlKept kept;

	if (!same_keys && !cursor_level(old))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(
				 "process manager \"%s\" cannot change to another correlate function while its lanes are apart",
				 old->name),
			 errdetail("Each has handled the events of its keys up to another position."),
			 errhint("Try again when it has caught up, or register it under another name.")));
	if (same_keys && (kind == HANDLER_INSTANCE) == (old->kind == HANDLER_INSTANCE))
		return;
	kept = control_kept(old->name);
	if (kept.instances + kept.timers + kept.parked == 0)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 same_keys ?
			 errmsg("process manager \"%s\" cannot change to this kind of handler", old->name) :
			 errmsg("process manager \"%s\" cannot change to another correlate function",
					old->name),
		 errdetail("It has instances: %lld, timers: %lld, parked events: %lld.",
				   (long long) kept.instances, (long long) kept.timers, (long long) kept.parked),
		 errhint(
			 "Register it under another name, or let pm.seek delete them with reset => true.")));
}

/*
 * pm.register(name, handler, logs, correlate, types, start_at, on_failure,
 *			   max_attempts, backoff, handler_timeout, batch_size, lanes,
 *			   park_limit)
 */
Datum
pm_register(PG_FUNCTION_ARGS)
{
	char *name;
	char *on_failure;
	char *start_at = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	char *handler;
	char *correlate = NULL;
	HandlerKind kind;
	int lanes;
	List *given;
	List *logs = NIL;
	ProcessManager *old;
	Oid owner;
	Oid handler_owner;
	Oid correlate_owner = InvalidOid;
	ListCell *lc;

	highwater_require_fresh_snapshots("pm.register");
	exec_require_writable("pm.register");
	register_not_null(fcinfo, 0, "name");
	register_not_null(fcinfo, 1, "handler");
	register_not_null(fcinfo, 2, "logs");
	register_not_null(fcinfo, 6, "on_failure");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	register_check_name(name);
	within_refuse(name);
	given = register_names(PG_GETARG_DATUM(2), "logs");
	if (given == NIL)
		register_invalid("a process manager must follow a log", "Name one in logs.");
	if (!PG_ARGISNULL(4) && register_names(PG_GETARG_DATUM(4), "types") == NIL)
		register_invalid("types must not be empty",
						 "Name a type of events, or leave types out: then all are handled.");
	on_failure = text_to_cstring(PG_GETARG_TEXT_PP(6));
	if (strcmp(on_failure, "park") != 0 && strcmp(on_failure, "halt") != 0)
		register_invalid(psprintf("invalid on_failure: \"%s\"", on_failure),
						 "It is 'park' or 'halt'.");
	register_check_int(fcinfo, 7, "max_attempts", 1, 1000000);
	register_check_interval(fcinfo, 8, "backoff", true);
	register_check_interval(fcinfo, 9, "handler_timeout", false);
	register_check_int(fcinfo, 10, "batch_size", 1, REGISTER_MAX_BATCH);
	register_check_int(fcinfo, 11, "lanes", 1, REGISTER_MAX_LANES);
	lanes = PG_GETARG_INT32(11);
	register_check_int(fcinfo, 12, "park_limit", 1, PG_INT32_MAX);

	if (start_at != NULL)
		register_check_start(start_at);

	foreach(lc, given)
	{
		Oid relid;
		char *log = log_find(lfirst(lc), &relid, false);

		if (!register_in(logs, log))
			logs = lappend(logs, log);
	}

again:
	register_await(registry_get(name, true), logs);
	old = manager_lock(name, true);
	if (old != NULL)
	{
		foreach(lc, old->logs)
			if (!register_in(logs, lfirst(lc)))
				ereport(
					ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("process manager \"%s\" follows log \"%s\", which is not among logs",
							name, (char *) lfirst(lc)),
					 errhint("Name it too, or stop following it with SELECT pm.unfollow(%s, %s).",
							 quote_literal_cstr(name), quote_literal_cstr(lfirst(lc)))));
	}
	if (old != NULL)
		register_require_owner(old);
	owner = old ? old->owner : GetUserId();
	register_check_owner(owner);
	handler = handler_find(text_to_cstring(PG_GETARG_TEXT_PP(1)), owner, &kind, &handler_owner);

	if (!PG_ARGISNULL(3))
		correlate = handler_find_correlate(text_to_cstring(PG_GETARG_TEXT_PP(3)), owner,
										   lanes > 1 || (old != NULL &&
														 (old->lanes > 1 || !cursor_level(old))),
										   &correlate_owner);
	if (old != NULL)
		register_check_change(old, kind, correlate);

	if (!register_write(old != NULL, fcinfo, name, owner, handler, kind, handler_owner, correlate,
						correlate_owner))
	{
		/* Another session has registered the name first, or has let go of it. */
		CHECK_FOR_INTERRUPTS();
		goto again;
	}
	owner_record(name, owner);
	if (old == NULL)
		lane_add(name, 0, lanes);
	else
	{
		register_retry(old);
		if (lanes != old->lanes)
			repartition(old, lanes);
		repartition_drop_passed(old);
	}
	foreach(lc, logs)
		if (old == NULL || !register_in(old->logs, lfirst(lc)))
			register_follow(name, owner, lfirst(lc), lanes, start_at);

	registry_changed();
	wakeup_announce();
	register_warn_unattended(name);
	advice_warn_path(name, handler, correlate, owner);
	PG_RETURN_VOID();
}
