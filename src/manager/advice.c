/*
 * advice.c
 *		Finds hints for a handler that fails because of its environment: the
 *		search_path of its session, or a missing right.
 *
 * A handler can work in one session and fail in another.  A worker has the settings
 * that a new session of the owner has in this database.  It does not have the
 * search_path that a user has SET in the session in which the handler was tried with
 * pm.catch_up.  So pm.register warns if the two search paths differ, and if a failure
 * may be due to that, its hint tells in which schemas a worker looks for names.  If a
 * right is missing, the hint tells which role needs it.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/exec.h"
#include "base/extension.h"
#include "manager/advice.h"
#include "manager/advice_right.h"

#define ADVICE_SCHEMAS 64 /* at most this many schemas of a search path are compared */
#define ADVICE_DEFAULT "\"$user\", public" /* the default of search_path */

PG_FUNCTION_INFO_V1(pm_advice);

/*
 * The search_path in an array of settings, "name=value" each; NULL if there is
 * none.
 */
static char *
advice_setting(Datum settings)
{
	static const char name[] = "search_path=";
	Datum *elements;
	int count;

	deconstruct_array(DatumGetArrayTypeP(settings), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char *setting = TextDatumGetCString(elements[i]);

		if (pg_strncasecmp(setting, name, strlen(name)) == 0)
			return setting + strlen(name);
	}
	return NULL;
}

/* ---------- which function ---------- */

/*
 * to_regprocedure() raises an error if the caller may not use the schema, so the
 * functions of the name are searched instead.
 */
Oid
advice_function(const char *signature)
{
	char *name = pstrdup(signature);
	List *parts;
	CatCList *list;
	Oid found = InvalidOid;
	char *arguments = NULL;
	bool quoted = false;

	/* The arguments begin at the first parenthesis outside of double quotes. */
	for (char *c = name; *c != '\0' && arguments == NULL; c++)
	{
		quoted ^= *c == '"';
		if (*c == '(' && !quoted)
			arguments = c;
	}
	if (arguments == NULL)
		return InvalidOid;
	*arguments = '\0';
	if (!SplitIdentifierString(name, '.', &parts) || parts == NIL)
		return InvalidOid;
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(llast(parts)));
	for (int i = 0; i < list->n_members && !OidIsValid(found); i++)
	{
		Oid oid = ((Form_pg_proc) GETSTRUCT(&list->members[i]->tuple))->oid;

		/* The signature was formatted in the same way, so the texts can be compared. */
		if (strcmp(format_procedure_qualified(oid), signature) == 0)
			found = oid;
	}
	ReleaseSysCacheList(list);
	return found;
}

void
advice_require_usage(Oid schema)
{
	char *name = OidIsValid(schema) ? get_namespace_name(schema) : NULL;

	if (name == NULL || compat_namespace_aclcheck(schema, GetUserId(), ACL_USAGE) == ACLCHECK_OK)
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied for schema %s", name),
					errhint("Run GRANT USAGE ON SCHEMA %s TO %s.", quote_identifier(name),
							quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/*
 * Does what the function finds depend on the session's search_path?
 */
static bool
advice_uses_path(const char *signature)
{
	Oid function = signature == NULL ? InvalidOid : advice_function(signature);
	HeapTuple tuple;
	Datum config;
	bool isnull;
	bool uses = true;

	if (!OidIsValid(function))
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	/* The names in a body of the form BEGIN ATOMIC were looked up when it was created. */
	(void) SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull || ((Form_pg_proc) GETSTRUCT(tuple))->prolang == INTERNALlanguageId)
		uses = false;
	config = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	/* A function with a search_path of its own finds the same objects in every session. */
	if (!isnull && advice_setting(config) != NULL)
		uses = false;
	ReleaseSysCache(tuple);
	return uses;
}

/* ---------- search paths ---------- */

/*
 * The search_path that ALTER ROLE or ALTER DATABASE has set for a role in this
 * database, by the precedence that a new session follows; NULL if there is none.
 */
static char *
advice_role_setting(Oid role)
{
	/* The more specific setting counts, as in a new session. */
	const Oid scopes[][2] = {{MyDatabaseId, role},
							 {InvalidOid, role},
							 {MyDatabaseId, InvalidOid},
							 {InvalidOid, InvalidOid}};
	Relation rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	char *value = NULL;

	for (int i = 0; i < lengthof(scopes) && value == NULL; i++)
	{
		ScanKeyData key[2];
		SysScanDesc scan;
		HeapTuple tuple;

		ScanKeyInit(&key[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(scopes[i][0]));
		ScanKeyInit(&key[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(scopes[i][1]));
		scan = systable_beginscan(rel, DbRoleSettingDatidRolidIndexId, true, NULL, 2, key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			bool isnull;
			Datum settings = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig,
										  RelationGetDescr(rel), &isnull);

			if (!isnull)
				value = advice_setting(settings);
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return value;
}

/*
 * The search_path of a worker of this role.  If neither the role nor the
 * database has one, it is that of the configuration, which this session knows
 * only as the value that RESET would restore.  If that value comes from this
 * session's own role or client, the configuration is assumed to have the
 * default.
 */
const char *
advice_worker_path(Oid owner)
{
	const char *value = advice_role_setting(owner);
	struct config_generic *setting = compat_find_setting("search_path");

	if (value == NULL && setting != NULL && setting->reset_source < PGC_S_GLOBAL)
		value = GetConfigOptionResetString("search_path");
	return value != NULL ? value : ADVICE_DEFAULT;
}

/*
 * The schemas of a search_path that exist and that a role may use, in order, as
 * PostgreSQL searches them: with pg_catalog first if it is not named.
 */
static int
advice_schemas(const char *path, Oid role, Oid *schemas)
{
	List *names;
	ListCell *lc;
	int count = 0;
	bool catalog = false;

	if (!SplitIdentifierString(pstrdup(path), ',', &names))
		return 0;
	foreach(lc, names)
	{
		char *name = strcmp(lfirst(lc), "$user") == 0 ? GetUserNameFromId(role, true) : lfirst(lc);
		Oid schema = name == NULL || strcmp(name, "pg_temp") == 0 ? InvalidOid :
																	get_namespace_oid(name, true);
		bool twice = false;

		/* Leave out schemas that the role may not use, as PostgreSQL does. */
		for (int i = 0; i < count; i++)
			twice |= schemas[i] == schema;
		if (!OidIsValid(schema) || twice || count == ADVICE_SCHEMAS - 1 ||
			compat_namespace_aclcheck(schema, role, ACL_USAGE) != ACLCHECK_OK)
			continue;
		catalog |= schema == PG_CATALOG_NAMESPACE;
		schemas[count++] = schema;
	}
	if (!catalog)
	{
		memmove(schemas + 1, schemas, sizeof(Oid) * count);
		schemas[0] = PG_CATALOG_NAMESPACE;
		count++;
	}
	return count;
}

/*
 * The names of schemas without pg_catalog, as a list.
 */
static char *
advice_names(const Oid *schemas, int count)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < count; i++)
		if (schemas[i] != PG_CATALOG_NAMESPACE && get_namespace_name(schemas[i]) != NULL)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 quote_identifier(get_namespace_name(schemas[i])));
	return names.len > 0 ? names.data : "no schema";
}

/*
 * The function of a process manager whose result depends on the search_path, or
 * NULL.
 */
static const char *
advice_path_user(const char *handler, const char *correlate)
{
	if (advice_uses_path(handler))
		return handler;
	return advice_uses_path(correlate) ? correlate : NULL;
}

void
advice_warn_path(const char *name, const char *handler, const char *correlate, Oid owner)
{
	Oid here[ADVICE_SCHEMAS];
	Oid there[ADVICE_SCHEMAS];
	const char *function = advice_path_user(handler, correlate);
	int nhere;
	int nthere;

	if (function == NULL)
		return;
	nhere = Min(fetch_search_path_array(here, ADVICE_SCHEMAS), ADVICE_SCHEMAS);
	nthere = advice_schemas(advice_worker_path(owner), owner, there);
	if (nhere == nthere && memcmp(here, there, sizeof(Oid) * nhere) == 0)
		return;
	ereport(WARNING,
			(errmsg("in a worker, %s may not find what it finds in this session", function),
			 errdetail("This session looks for names in %s; a worker, as role \"%s\", looks in %s.",
					   advice_names(here, nhere), GetUserNameFromId(owner, false),
					   advice_names(there, nthere)),
			 errhint("Write the names in it with their schemas, "
					 "or run ALTER FUNCTION %s SET search_path FROM CURRENT.",
					 function)));
}

/* ---------- advice ---------- */

char *
advice_for(const char *handler, const char *correlate, Oid owner, int sqlerrcode,
		   const char *message, bool called)
{
	Oid schemas[ADVICE_SCHEMAS];
	char *role = OidIsValid(owner) ? GetUserNameFromId(owner, true) : NULL;
	const char *function;

	if (role == NULL)
		return NULL;
	if (handler == NULL && sqlerrcode == ERRCODE_PM_LEASE_LOST && called)
		return pstrdup("A consumer has to call pm.advance or pm.fail for what it has fetched, or "
					   "pm.extend, before its lease ends.");
	if (sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && OidIsValid(extension_schema("pm")) &&
		compat_namespace_aclcheck(extension_schema("pm"), owner, ACL_USAGE) != ACLCHECK_OK)
		return psprintf("Run GRANT USAGE ON SCHEMA pm TO %s.", quote_identifier(role));
	/* What pm itself looks up does not depend on a search_path. */
	if (!called)
		return NULL;
	/* PostgreSQL names the object, but neither its schema, nor the right, nor the role. */
	if (sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
	{
		char *lacks = message == NULL ? NULL : advice_right(message, owner);

		if (lacks != NULL)
			return psprintf("The handler runs as role \"%s\". %s", role, lacks);
		return psprintf("The handler runs as role \"%s\". If that role lacks the right, grant it.",
						role);
	}
	if (sqlerrcode != ERRCODE_UNDEFINED_TABLE && sqlerrcode != ERRCODE_UNDEFINED_FUNCTION &&
		sqlerrcode != ERRCODE_UNDEFINED_OBJECT && sqlerrcode != ERRCODE_UNDEFINED_SCHEMA)
		return NULL;
	function = advice_path_user(handler, correlate);
	if (function == NULL)
		return NULL;
	return psprintf(
		"A worker, as role \"%s\", looks for names in %s. Write names with their schemas, or run "
		"ALTER FUNCTION %s SET search_path FROM CURRENT in a session that finds them.",
		role, advice_names(schemas, advice_schemas(advice_worker_path(owner), owner, schemas)),
		function);
}

static char *
advice_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * pm_catalog.advice(handler, correlate, owner, sqlstate, called, message): advice_for(),
 * for the views.  In version 0.1.0 it has no message.
 */
Datum
pm_advice(PG_FUNCTION_ARGS)
{
	char *sqlstate;
	char *advice;

	if (PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	sqlstate = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (strlen(sqlstate) != 5)
		PG_RETURN_NULL();
	advice = advice_for(advice_argument(fcinfo, 0), advice_argument(fcinfo, 1), PG_GETARG_OID(2),
						MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3],
									  sqlstate[4]),
						PG_NARGS() > 5 ? advice_argument(fcinfo, 5) : NULL, PG_GETARG_BOOL(4));
	if (advice == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(advice));
}
