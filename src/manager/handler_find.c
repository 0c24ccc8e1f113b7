/*
 * handler_find.c
 *		Finds the handler and the correlate function of a process manager.
 *
 * pm.register finds a function by a name or a signature, with the caller's
 * search_path, and keeps its qualified signature.  Each batch finds the
 * function of that signature again.  That costs several lookups in the
 * catalogs, so the result is kept for as long as no function, type, schema or
 * role has changed since.
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/identifier.h"
#include "manager/advice.h"
#include "manager/handler_find.h"
#include "manager/mismatch.h"

/* Increases whenever a signature may mean another function than before. */
static uint64 lookup_version = 1;

static void
handler_find_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	lookup_version++;
}

void
handler_find_install(void)
{
	static const int caches[] = {PROCOID, TYPEOID, NAMESPACEOID, AUTHOID, AUTHMEMROLEMEM};

	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], handler_find_changed, (Datum) 0);
}

/* ---------- by the name that was given ---------- */

/*
 * The function of a signature, whether it fits or not; InvalidOid if there is
 * none.
 */
static Oid
handler_find_signature(const char *signature, const char *arguments)
{
	/* regprocedurein() would truncate a name that is too long; this refuses it. */
	List *parts = identifier_split(pnstrdup(signature, arguments - signature));

	if (list_length(parts) == 2)
		advice_require_usage(get_namespace_oid(linitial(parts), true));
	return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(signature)));
}

/*
 * A function of a name that fits the use, and how many there are.
 */
static Oid
handler_find_name(const char *name, const HandlerUse *use, int *matches)
{
	List *names = identifier_values(name);
	FuncCandidateList candidates;
	Oid found = InvalidOid;

	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("invalid function name: \"%s\"", name)));
	if (list_length(names) == 2)
		advice_require_usage(get_namespace_oid(strVal(linitial(names)), true));
	candidates = compat_functions_of_name(names);
	*matches = 0;
	for (; candidates != NULL; candidates = candidates->next)
	{
		if (!handler_fits(candidates->oid, use))
			continue;
		found = candidates->oid;
		(*matches)++;
	}
	return found;
}

/*
 * Finds a function by name or signature, and checks that the owner may call it.
 */
static Oid
handler_search(const char *name, Oid owner, const HandlerUse *use)
{
	const char *arguments = identifier_arguments(name);
	Oid found;
	int matches;

	if (arguments != NULL)
	{
		found = handler_find_signature(name, arguments);
		matches = OidIsValid(found) && handler_fits(found, use) ? 1 : 0;
	}
	else
		found = handler_find_name(name, use, &matches);
	if (matches == 0)
	{
		char *why = mismatch_explain(name, found, GetUserId(), use->correlates);

		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg(use->missing, name),
						why ? errdetail_internal("%s", why) : 0, errhint("%s", use->hint)));
	}
	if (matches > 1)
		ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_FUNCTION), errmsg(use->ambiguous, name),
						errhint("Specify its signature, such as %s(pm.event).", name)));
	handler_check(found, owner, use);
	return found;
}

static Oid
handler_function_owner(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

char *
handler_find(const char *name, Oid owner, HandlerKind *kind, Oid *function_owner)
{
	Oid found = handler_search(name, owner, &handler_use_handler);

	*function_owner = handler_function_owner(found);
	*kind = (HandlerKind) handler_kind(found);
	return format_procedure_qualified(found);
}

char *
handler_find_correlate(const char *name, Oid owner, HandlerKind kind, bool lanes,
					   Oid *function_owner)
{
	Oid found = handler_search(name, owner, &handler_use_correlate);

	*function_owner = handler_function_owner(found);
	if (lanes)
		handler_require_immutable(found);
	handler_check_pair(kind, found);
	return format_procedure_qualified(found);
}

/* ---------- by the signature that was kept ---------- */

/*
 * The function of a qualified signature, if it still fits the use.
 */
static Oid
handler_find_fitting(const char *signature, const HandlerUse *use)
{
	LOCAL_FCINFO(fcinfo, 1);
	Oid named = advice_function(signature);
	Datum function;

	/* If the schema may not be used, to_regprocedure() would raise an error without a hint. */
	if (OidIsValid(named))
		advice_require_usage(get_func_namespace(named));

	/* It returns NULL where the function does not exist. */
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	if (fcinfo->isnull || !handler_fits(DatumGetObjectId(function), use))
		return InvalidOid;
	return DatumGetObjectId(function);
}

Oid
handler_find_again(ProcessManager *pm, const char *signature, FoundFunction *found,
				   const HandlerUse *use)
{
	/* Read this first, so that an invalidation that arrives during the lookup is not missed. */
	uint64 version = lookup_version;
	Oid function;

	Assert(GetUserId() == pm->owner);
	if (found->version == version)
	{
		handler_check(found->oid, pm->owner, use);
		return found->oid;
	}
	function = handler_find_fitting(signature, use);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg(use->dropped, signature),
				 errhint("Create it again, or register \"%s\" with another one.", pm->name)));
	handler_check(function, pm->owner, use);
	/* Keep the function only after this check, so that the next batch is refused, too. */
	handler_check_function_owner(pm, signature, handler_function_owner(function),
								 found->registered_owner);
	found->oid = function;
	found->version = version;
	return found->oid;
}

/*
 * A process manager can be given to another role even if its function does not
 * exist any more, because the function does not run in either case.
 */
void
handler_check_new_owner(ProcessManager *pm, Oid role)
{
	const char *signatures[2] = {pm->handler, pm->correlate};
	const HandlerUse *uses[2] = {&handler_use_handler, &handler_use_correlate};

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
		function = handler_find_fitting(signatures[i], uses[i]);
		SetUserIdAndSecContext(user, context);
		if (OidIsValid(function))
			handler_check(function, role, uses[i]);
		else
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg(uses[i]->dropped, signatures[i]),
					 errhint("Create it again, or register \"%s\" with another one.", pm->name)));
	}
}
