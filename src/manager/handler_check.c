/*
 * handler_check.c
 *		Checks whether a function can be a handler, and whether its process manager may call it.
 *
 * A handler runs as the owner of its process manager.  These checks are made when the
 * handler is registered and again for every batch, so that a replaced function, a
 * revoked right or a new owner has an effect at once.
 */
#include "pm.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/event.h"
#include "base/version.h"
#include "manager/handler_check.h"

const HandlerUse handler_use_handler = {
	.correlates = false,
	.hint = "A handler is f(pm.event), f(pm.event, jsonb) RETURNS jsonb, or f(pm.event[]).",
	.missing = "no handler \"%s\" exists",
	.ambiguous = "handler \"%s\" is ambiguous",
	.dropped = "handler %s does not exist",
	.procedure = "%s cannot be a handler: it is a procedure",
	.aggregate = "%s cannot be a handler: it is an aggregate function",
	.window = "%s cannot be a handler: it is a window function",
	.set = "%s cannot be a handler: it returns a set",
	.result = "%s cannot be a handler: it returns %s, not %s",
};

const HandlerUse handler_use_correlate = {
	.correlates = true,
	.hint = "A correlate function is f(pm.event) RETURNS text or text[].",
	.missing = "no correlate function \"%s\" exists",
	.ambiguous = "correlate function \"%s\" is ambiguous",
	.dropped = "correlate function %s does not exist",
	.procedure = "%s cannot be a correlate function: it is a procedure",
	.aggregate = "%s cannot be a correlate function: it is an aggregate function",
	.window = "%s cannot be a correlate function: it is a window function",
	.set = "%s cannot be a correlate function: it returns a set",
	.result = "%s cannot be a correlate function: it returns %s, not %s",
};

char
handler_kind(Oid function)
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

bool
handler_fits(Oid function, const HandlerUse *use)
{
	char kind = handler_kind(function);

	return use->correlates ? kind == HANDLER_EVENT : kind != 0;
}

/*
 * The message about a procedure, aggregate or window function, or a function
 * that returns a set; NULL if it is a plain function.
 */
static const char *
handler_not_plain(Form_pg_proc proc, const HandlerUse *use)
{
	switch (proc->prokind)
	{
		case PROKIND_PROCEDURE:
			return use->procedure;
		case PROKIND_AGGREGATE:
			return use->aggregate;
		case PROKIND_WINDOW:
			return use->window;
		default:
			return proc->proretset ? use->set : NULL;
	}
}

/*
 * Refuses a function that is of the wrong kind or returns the wrong type.
 */
static void
handler_check_definition(Form_pg_proc proc, const HandlerUse *use)
{
	const char *not_plain = handler_not_plain(proc, use);
	Oid wanted = InvalidOid;
	bool keys = use->correlates && proc->prorettype == TEXTARRAYOID;

	if (not_plain != NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg(not_plain, format_procedure(proc->oid)), errhint("%s", use->hint)));

	/* What other handlers return is ignored. */
	if (use->correlates)
		wanted = TEXTOID;
	else if (handler_kind(proc->oid) == HANDLER_INSTANCE)
		wanted = JSONBOID;
	if (OidIsValid(wanted) && proc->prorettype != wanted && !keys)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg(use->result, format_procedure(proc->oid),
							   format_type_be(proc->prorettype), format_type_be(wanted)),
						errhint("%s", use->hint)));
	/* The state of a key without an instance is NULL. */
	if (wanted == JSONBOID && proc->proisstrict)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg("%s cannot be a handler: it is STRICT", format_procedure(proc->oid)),
						errdetail("It would not be called for a key that has no instance yet."),
						errhint("%s", use->hint)));
}

/*
 * Refuses a function that the process manager's owner has no right to execute,
 * or must not execute.
 */
static void
handler_check_rights(Form_pg_proc proc, Oid owner)
{
	if (compat_proc_aclcheck(proc->oid, owner, ACL_EXECUTE) != ACLCHECK_OK)
	{
		char *name = GetUserNameFromId(owner, true);

		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not execute %s", name ? name : "?",
							   format_procedure(proc->oid)),
						errhint("Run GRANT EXECUTE ON FUNCTION %s TO %s.",
								format_procedure_qualified(proc->oid),
								quote_identifier(GetUserNameFromId(owner, false)))));
	}
	/* The function's owner could replace it, and the new function would run as a superuser. */
	if (superuser_arg(owner) && !superuser_arg(proc->proowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a superuser's process manager cannot call %s, which no superuser owns",
						format_procedure(proc->oid)),
				 errhint("Register it as the function's owner, or have a superuser own it: "
						 "ALTER FUNCTION %s OWNER TO %s.",
						 format_procedure_qualified(proc->oid),
						 quote_identifier(GetUserNameFromId(owner, false)))));
}

void
handler_check(Oid function, Oid owner, const HandlerUse *use)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	handler_check_definition(proc, use);
	handler_check_rights(proc, owner);
	ReleaseSysCache(tuple);
}

bool
handler_fans_out(Oid correlate)
{
	return get_func_rettype(correlate) == TEXTARRAYOID;
}

/*
 * An event of several keys is handled once for each of them.  A handler of arrays could
 * not tell for which key it gets an event.
 */
void
handler_check_pair(HandlerKind kind, Oid correlate)
{
	if (!handler_fans_out(correlate))
		return;
	version_require("0.2.0", "a correlate function that returns text[]");
	if (kind == HANDLER_BATCH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("correlate function %s returns several keys, and the handler takes "
						"arrays of events",
						format_procedure(correlate)),
				 errdetail("The handler of an event with several keys is called for each of them."),
				 errhint("Use a handler f(pm.event) or f(pm.event, jsonb) RETURNS jsonb, or a "
						 "correlate function that returns text.")));
}

/*
 * Each lane asks for the key of each event and handles the events of its own
 * keys.  If two lanes got different answers, no lane would handle the event, or
 * both would.
 */
void
handler_require_immutable(Oid correlate)
{
	if (func_volatile(correlate) != PROVOLATILE_IMMUTABLE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg("correlate function %s must be IMMUTABLE to be used with lanes",
							   format_procedure(correlate)),
						errdetail("An event is handled by the lane of its key, "
								  "which must always be the same."),
						errhint("If its result depends on the event alone, "
								"run ALTER FUNCTION %s IMMUTABLE.",
								format_procedure_qualified(correlate))));
}

/*
 * When a function is dropped, a role that may create functions in the schema
 * can create one of the same signature, which would run as the process
 * manager's owner.  So the function must belong to the role that owned it when
 * it was registered, or to a role that has all rights of the process manager's
 * owner.
 */
void
handler_check_function_owner(ProcessManager *pm, const char *signature, Oid function_owner,
							 Oid registered_owner)
{
	char *name;

	/* REASSIGN OWNED or ALTER TYPE can give the process manager to a superuser (owner.c). */
	if (superuser_arg(pm->owner) && !OidIsValid(registered_owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("process manager \"%s\" was given to a superuser, "
							   "and %s was not registered by one",
							   pm->name, signature),
						errhint("If it may run as a superuser, run SELECT pm.set_owner(%s, %s).",
								quote_literal_cstr(pm->name), quote_literal_cstr(pm->owner_name))));
	if (function_owner == registered_owner || has_privs_of_role(function_owner, pm->owner))
		return;
	name = GetUserNameFromId(function_owner, true);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("%s belongs to role \"%s\", but did not when process manager \"%s\" "
						   "was registered",
						   signature, name ? name : "?", pm->name),
					errhint("If it is the right function, register \"%s\" again.", pm->name)));
}
