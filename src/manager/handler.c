/*
 * handler.c
 *		The function that is called for an event, and the one that tells its key.
 *
 * A handler runs as the process manager's owner, in whose session (dispatcher)
 * or call (pm.catch_up) this code is.  What may be called is asked again for
 * every batch, so that a replaced function, a revoked right or a new owner
 * counts at once.
 *
 * Each call is watched by a timeout of our own, since a handler can SET
 * statement_timeout.  When it first fires it cancels the statement.  A handler
 * can catch that (PL/pgSQL's WHEN OTHERS does not, WHEN query_canceled does),
 * so a dispatcher ends itself when the same call runs for the same time again;
 * the scheduler then counts the attempt.  The timer ticks a few times a
 * timeout, instead of being set for each call: setting it costs a system call.
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "base/event.h"
#include "base/identifier.h"
#include "manager/advice.h"
#include "manager/handler.h"
#include "manager/mismatch.h"
#include "shmem/slot.h"

#define HANDLER_TICKS 8 /* a timeout */

/* May an overdue handler take its session with it?  Set in dispatchers. */
bool handler_may_die = false;

/* Rises whenever a signature may come to mean another function. */
static uint64 lookup_version = 1;

static TimeoutId timeout_id = MAX_TIMEOUTS;
static volatile sig_atomic_t running = false;
static volatile sig_atomic_t timed_out = false;
static volatile TimestampTz started;
static volatile int64 limit_us;

/* What is looked for. */
typedef struct HandlerRole
{
	const char *what;
	const char *hint;
	char (*match)(Oid function); /* the kind it makes, or 0 */
} HandlerRole;

/*
 * Which kind of handler a function's arguments make, or 0.
 */
static char
handler_match(Oid function)
{
	Oid event = event_type();
	Oid *argtypes;
	int nargs;

	(void) get_func_signature(function, &argtypes, &nargs);
	if (nargs == 1 && argtypes[0] == event)
		return HANDLER_EVENT;
	if (nargs == 1 && argtypes[0] == get_array_type(event))
		return HANDLER_BATCH;
	if (nargs == 2 && argtypes[0] == event && argtypes[1] == JSONBOID)
		return HANDLER_INSTANCE;
	return 0;
}

static char
handler_match_correlate(Oid function)
{
	return handler_match(function) == HANDLER_EVENT ? HANDLER_EVENT : 0;
}

static const HandlerRole handler_role =
	{"handler", "A handler is f(pm.event), f(pm.event, jsonb) RETURNS jsonb, or f(pm.event[]).",
	 handler_match};
static const HandlerRole correlate_role = {"correlate function",
										   "A correlate function is f(pm.event) RETURNS text.",
										   handler_match_correlate};

/*
 * Why something of this kind is never called, as the end of a message, which
 * pm.status shows; NULL: it is a plain function.
 */
static const char *
handler_mismatch(Form_pg_proc proc)
{
	switch (proc->prokind)
	{
		case PROKIND_PROCEDURE:
			return "is a procedure";
		case PROKIND_AGGREGATE:
			return "is an aggregate function";
		case PROKIND_WINDOW:
			return "is a window function";
		default:
			return proc->proretset ? "returns a set" : NULL;
	}
}

/*
 * May this role's process manager call this function, and as what it is meant
 * for?
 */
static void
handler_check(Oid function, Oid owner, const HandlerRole *role)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	Oid wanted;
	const char *mismatch;
	AclResult acl;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	mismatch = handler_mismatch(proc);
	if (mismatch != NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("%s cannot be a %s: it %s", format_procedure(function), role->what,
							   mismatch),
						errhint("%s", role->hint)));
	wanted = role == &correlate_role				   ? TEXTOID :
			 role->match(function) == HANDLER_INSTANCE ? JSONBOID :
														 InvalidOid;
	if (OidIsValid(wanted) && proc->prorettype != wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s cannot be a %s: it returns %s, not %s", format_procedure(function),
						role->what, format_type_be(proc->prorettype), format_type_be(wanted)),
				 errhint("%s", role->hint)));
	if (wanted == JSONBOID && proc->proisstrict)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("%s cannot be a %s: it is STRICT", format_procedure(function), role->what),
				 errdetail("It would not be called for a key that has no instance yet."),
				 errhint("%s", role->hint)));
	acl = compat_proc_aclcheck(function, owner, ACL_EXECUTE);
	if (acl != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute %s",
						GetUserNameFromId(owner, true) ? GetUserNameFromId(owner, true) : "?",
						format_procedure(function)),
				 errhint("Run GRANT EXECUTE ON FUNCTION %s TO %s.",
						 format_procedure_qualified(function),
						 quote_identifier(GetUserNameFromId(owner, false)))));
	if (superuser_arg(owner) && !superuser_arg(proc->proowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a superuser's process manager cannot call %s, which no superuser owns",
						format_procedure(function)),
				 errhint("Register it as the function's owner, or have a superuser own it: "
						 "ALTER FUNCTION %s OWNER TO %s.",
						 format_procedure_qualified(function),
						 quote_identifier(GetUserNameFromId(owner, false)))));
	ReleaseSysCache(tuple);
}

/*
 * Finds a function by name or signature for a role.
 */
static Oid
handler_search(const char *name, Oid owner, const HandlerRole *role)
{
	Oid found = InvalidOid;
	int matches = 0;
	const char *arguments = identifier_arguments(name);

	if (arguments != NULL)
	{
		/* regprocedurein() would cut a name that is too long. */
		List *parts = identifier_split(pnstrdup(name, arguments - name));

		if (list_length(parts) == 2)
			advice_require_usage(get_namespace_oid(linitial(parts), true));
		found = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
		if (OidIsValid(found) && role->match(found) != 0)
			matches = 1;
	}
	else
	{
		List *names = identifier_values(name);
		FuncCandidateList candidates;

		if (names == NIL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
							errmsg("invalid name of a function: \"%s\"", name)));
		if (list_length(names) == 2)
			advice_require_usage(get_namespace_oid(strVal(linitial(names)), true));
		candidates = FuncnameGetCandidates(names, -1, NIL, false, false, false, true);
		for (; candidates != NULL; candidates = candidates->next)
		{
			if (role->match(candidates->oid) == 0)
				continue;
			found = candidates->oid;
			matches++;
		}
	}
	if (matches == 0)
	{
		char *why = mismatch_explain(name, found, GetUserId(), role == &correlate_role);

		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("no %s \"%s\" exists", role->what, name),
						why ? errdetail("%s", why) : 0, errhint("%s", role->hint)));
	}
	if (matches > 1)
		ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_FUNCTION),
						errmsg("%s \"%s\" is ambiguous", role->what, name),
						errhint("Give its signature, like %s(pm.event).", name)));
	handler_check(found, owner, role);
	return found;
}

static Oid
handler_owner(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Finds a handler by name or signature for a role.  Returns its qualified
 * signature.
 */
char *
handler_find(const char *name, Oid owner, HandlerKind *kind, Oid *function_owner)
{
	Oid found = handler_search(name, owner, &handler_role);

	*function_owner = handler_owner(found);
	*kind = (HandlerKind) handler_match(found);
	return format_procedure_qualified(found);
}

/*
 * Each lane asks for the key of each event, to find its own: two answers, and
 * none would handle it, or two.
 */
static void
handler_require_immutable(Oid correlate)
{
	if (func_volatile(correlate) != PROVOLATILE_IMMUTABLE)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("correlate function %s must be IMMUTABLE to be used with lanes",
					format_procedure(correlate)),
			 errdetail(
				 "An event is handled by the lane of its key, which must always be the same."),
			 errhint("If its result depends on the event alone, run ALTER FUNCTION %s IMMUTABLE.",
					 format_procedure_qualified(correlate))));
}

/*
 * The same for a correlate function.
 */
char *
handler_find_correlate(const char *name, Oid owner, bool lanes, Oid *function_owner)
{
	Oid found = handler_search(name, owner, &correlate_role);

	*function_owner = handler_owner(found);
	if (lanes)
		handler_require_immutable(found);
	return format_procedure_qualified(found);
}

/*
 * What a signature means may have changed: functions, types, schemas or the
 * rights to use them.
 */
static void
handler_syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	lookup_version++;
}

void
handler_install(void)
{
	static const int caches[] = {PROCOID, TYPEOID, NAMESPACEOID, AUTHOID, AUTHMEMROLEMEM};

	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], handler_syscache_callback, (Datum) 0);
}

/*
 * Whoever may create functions in that schema can put another one in the place
 * of one that was dropped, and it would run as the process manager's owner.  So
 * it must belong to who owned it when it was registered, or to who may do all
 * that the process manager's owner may.
 */
static void
handler_check_owner(ProcessManager *pm, const char *signature, Oid owner, Oid registered_owner)
{
	char *name;

	/* It became a superuser's by REASSIGN OWNED or ALTER TYPE (owner.c). */
	if (superuser_arg(pm->owner) && !OidIsValid(registered_owner))
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg(
				 "process manager \"%s\" was given to a superuser, and %s was not registered by one",
				 pm->name, signature),
			 errhint("If it may run as a superuser, run SELECT pm.set_owner(%s, %s).",
					 quote_literal_cstr(pm->name), quote_literal_cstr(pm->owner_name))));
	if (owner == registered_owner || has_privs_of_role(owner, pm->owner))
		return;
	name = GetUserNameFromId(owner, true);
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 errmsg("%s belongs to role \"%s\", and did not when process manager \"%s\" was registered",
				signature, name ? name : "?", pm->name),
		 errhint("If it is the right function, register \"%s\" again.", pm->name)));
}

/*
 * The function behind a signature, if it can still be what it is for.
 */
static Oid
handler_resolve(const char *signature, const HandlerRole *role)
{
	LOCAL_FCINFO(fcinfo, 1);
	Oid named = advice_function(signature);
	Datum function;

	/* It would raise this without saying what helps. */
	if (OidIsValid(named))
		advice_require_usage(get_func_namespace(named));

	/* to_regprocedure() is NULL where the function does not exist. */
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	return fcinfo->isnull || role->match(DatumGetObjectId(function)) == 0 ?
			   InvalidOid :
			   DatumGetObjectId(function);
}

/*
 * Refuses a role that may not execute the functions of the process manager
 * that it is to own.
 */
void
handler_admit(ProcessManager *pm, Oid role)
{
	const char *signatures[2] = {pm->handler, pm->correlate};
	const HandlerRole *roles[2] = {&handler_role, &correlate_role};

	for (int i = 0; i < 2; i++)
	{
		Oid user;
		int context;
		Oid function;

		if (signatures[i] == NULL)
			continue;
		/* Whether the schema may be used is asked of the current user. */
		GetUserIdAndSecContext(&user, &context);
		SetUserIdAndSecContext(role, context | SECURITY_LOCAL_USERID_CHANGE);
		function = handler_resolve(signatures[i], roles[i]);
		SetUserIdAndSecContext(user, context);
		if (OidIsValid(function))
			handler_check(function, role, roles[i]);
		else
			ereport(WARNING,
					(errmsg("%s %s does not exist", roles[i]->what, signatures[i]),
					 errhint("Create it again, or register \"%s\" with another one.", pm->name)));
	}
}

/*
 * Looks a function up again by its signature, unless nothing can have changed;
 * whether it may be called is asked each time.
 */
static Oid
handler_lookup(ProcessManager *pm, const char *signature, FoundFunction *found,
			   const HandlerRole *role)
{
	uint64 version = lookup_version;
	Oid function;

	Assert(GetUserId() == pm->owner);
	if (found->version == version)
	{
		handler_check(found->oid, pm->owner, role);
		return found->oid;
	}
	function = handler_resolve(signature, role);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("%s %s does not exist", role->what, signature),
				 errhint("Create it again, or register \"%s\" with another one.", pm->name)));
	handler_check(function, pm->owner, role);
	handler_check_owner(pm, signature, handler_owner(function), found->registered_owner);
	found->oid = function;
	found->version = version;
	return found->oid;
}

/*
 * Makes a process manager's handler ready to be called in this batch, which is
 * of one lane among others, or not.
 */
void
handler_open(Handler *handler, ProcessManager *pm, bool lanes)
{
	memset(handler, 0, sizeof(*handler));
	fmgr_info(handler_lookup(pm, pm->handler, &pm->found_handler, &handler_role),
			  &handler->function);
	handler->kind = pm->kind;
	handler->event_type = event_type();
	handler->timeout = pm->handler_timeout;
	if (pm->correlate != NULL)
	{
		Oid correlate = handler_lookup(pm, pm->correlate, &pm->found_correlate, &correlate_role);

		if (lanes)
			handler_require_immutable(correlate);
		fmgr_info(correlate, &handler->correlate);
		handler->correlates = true;
		handler->foretells = func_volatile(correlate) == PROVOLATILE_IMMUTABLE;
	}
	else
		handler->foretells = true;
}

/* ---------- calling ---------- */

/*
 * User's code runs from here on.
 */
static inline void
handler_start(void)
{
	timed_out = false;
	started = GetCurrentTimestamp();
	if (MyWorkerSlot != NULL)
		MyWorkerSlot->now.called_at = started;
	running = true;
}

/*
 * Calls a function under the watch.
 */
static Datum
handler_invoke(FunctionCallInfo fcinfo)
{
	Datum result;

	handler_start();
	result = FunctionCallInvoke(fcinfo);
	running = false;

	/* It came back in time after all: what was pending is not for the next. */
	if (timed_out)
	{
		QueryCancelPending = false;
		timed_out = false;
	}
	return result;
}

/*
 * Calls the handler with an event, or an array of events.
 */
void
handler_call(Handler *handler, Datum argument)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &handler->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = argument;
	fcinfo->args[0].isnull = false;
	(void) handler_invoke(fcinfo);
}

/*
 * Calls the handler of an instance.  Returns its new state.
 */
Datum
handler_call_instance(Handler *handler, Datum event, Datum state, bool no_state, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &handler->function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = state;
	fcinfo->args[1].isnull = no_state;
	result = handler_invoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/*
 * Asks for an event's key.
 */
Datum
handler_call_correlate(Handler *handler, Datum event, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &handler->correlate, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event;
	fcinfo->args[0].isnull = false;
	result = handler_invoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

Datum
handler_event_array(Handler *handler, Datum *events, int count)
{
	return PointerGetDatum(
		construct_array(events, count, handler->event_type, -1, false, TYPALIGN_DOUBLE));
}

/* ---------- the timeout ---------- */

/*
 * Runs in the signal handler.
 */
static void
handler_tick(void)
{
	int64 ran;

	if (!running)
		return;
	ran = GetCurrentTimestamp() - started;
	if (ran < limit_us)
		return;
	if (!timed_out)
	{
		timed_out = true;
		QueryCancelPending = true;
	}
	else if (handler_may_die && ran >= 2 * limit_us)
	{
		if (MyWorkerSlot != NULL)
			MyWorkerSlot->now.overdue = true;
		ProcDiePending = true;
	}
	else
		return;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/*
 * Fires the deferred triggers that the calls have left for the commit, under
 * the same watch: they are part of what a handler does.
 */
void
handler_fire_deferred(void)
{
	handler_start();
	AfterTriggerFireDeferred();
	running = false;
	if (timed_out)
	{
		QueryCancelPending = false;
		timed_out = false;
	}
}

/*
 * Watches the calls from here to handler_watch_end().
 */
void
handler_watch_begin(Handler *handler)
{
	int64 tick = Max(handler->timeout / HANDLER_TICKS, 1);

	if (timeout_id == MAX_TIMEOUTS)
		timeout_id = RegisterTimeout(USER_TIMEOUT, handler_tick);
	running = false;
	timed_out = false;
	limit_us = handler->timeout * 1000;
	enable_timeout_every(timeout_id, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), tick),
						 (int) Min(tick, PG_INT32_MAX));
}

/*
 * Also to be called after an error, before anything else is run.
 */
void
handler_watch_end(void)
{
	running = false;
	if (timeout_id != MAX_TIMEOUTS)
		disable_timeout(timeout_id, false);
	/* A cancel of ours that nobody has heeded is not for what comes next. */
	if (timed_out)
		QueryCancelPending = false;
}

/*
 * Was the error that has just been caught a cancel of ours?  Clears the mark.
 */
bool
handler_timed_out(void)
{
	bool result = timed_out;

	timed_out = false;
	return result;
}
