/*
 * mismatch.c
 *		Explains why no function of a name can be a handler.
 *
 * The message "no handler exists" does not help a user whose function has that
 * name but takes json, or is in a schema that is not in the search_path, or has
 * a name that needs double quotes.  So the detail of the message names such
 * functions and says what is wrong with each.
 */
#include "pm.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/event.h"
#include "base/identifier.h"
#include "manager/mismatch.h"

#define MISMATCH_SHOWN 5 /* at most this many functions are named */

/*
 * What is wrong with the arguments of a function; NULL if nothing is.
 */
static char *
mismatch_arguments(Form_pg_proc function, bool correlate)
{
	Oid event = event_type();
	const Oid *types = function->proargtypes.values;
	int count = function->pronargs;

	if (count == 0)
		return pstrdup("It takes no argument.");
	if (types[0] != event && (correlate || types[0] != get_array_type(event)))
		return psprintf("Its first argument is of type %s.", format_type_be(types[0]));
	if (count > 1 && (correlate || types[0] != event || count > 2))
		return psprintf("It takes %d arguments.", count);
	if (count == 2 && types[1] != JSONBOID)
		return psprintf("Its second argument is of type %s.", format_type_be(types[1]));
	return NULL;
}

/*
 * The signature of a function with its schema, but its types without one if
 * they need none.
 */
static char *
mismatch_signature(Form_pg_proc function)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s(",
					 quote_qualified_identifier(get_namespace_name(function->pronamespace),
												NameStr(function->proname)));
	for (int i = 0; i < function->pronargs; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "," : "",
						 format_type_be(function->proargtypes.values[i]));
	appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * Why a function that fits was not found under the name that was given.
 */
static char *
mismatch_place(Form_pg_proc function, Oid role, bool qualified)
{
	char *schema = get_namespace_name(function->pronamespace);

	if (schema == NULL)
		return pstrdup("Its schema has been dropped.");
	if (compat_namespace_aclcheck(function->pronamespace, role, ACL_USAGE) != ACLCHECK_OK)
		return psprintf("Role \"%s\" lacks USAGE on its schema.", GetUserNameFromId(role, false));
	if (qualified)
		return pstrdup("It is in another schema.");
	return pstrdup("Its schema is not in the search_path. Write the name with the schema.");
}

/*
 * Adds a line for each function of a name, whatever its schema.
 */
static int
mismatch_named(StringInfo lines, const char *name, Oid role, bool qualified, bool correlate)
{
	CatCList *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	int count = 0;

	for (int i = 0; i < list->n_members && count < MISMATCH_SHOWN; i++)
	{
		Form_pg_proc function = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);
		char *why = mismatch_arguments(function, correlate);

		/* Functions of PostgreSQL itself are not what was meant. */
		if (function->pronamespace == PG_CATALOG_NAMESPACE)
			continue;
		count++;
		/* The function fits, so the reason is that the search did not find it. */
		if (why == NULL)
			why = mismatch_place(function, role, qualified);
		appendStringInfo(lines, "%sThere is %s. %s", lines->len > 0 ? "\n" : "",
						 mismatch_signature(function), why);
	}
	ReleaseSysCacheList(list);
	return count;
}

char *
mismatch_explain(const char *name, Oid function, Oid role, bool correlate)
{
	StringInfoData lines;
	List *parts;

	initStringInfo(&lines);
	if (OidIsValid(function))
	{
		HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
		char *why = NULL;

		if (HeapTupleIsValid(tuple))
		{
			why = mismatch_arguments((Form_pg_proc) GETSTRUCT(tuple), correlate);
			ReleaseSysCache(tuple);
		}
		return why;
	}
	parts = identifier_split(name);
	if (parts == NIL)
		return NULL;
	(void) mismatch_named(&lines, llast(parts), role, list_length(parts) > 1, correlate);
	/* SQL folds a name without quotes to lower case: try it as it was given. */
	if (strcmp(name, llast(parts)) != 0 && list_length(parts) == 1 && strlen(name) < NAMEDATALEN &&
		mismatch_named(&lines, name, role, false, correlate) > 0)
		appendStringInfo(&lines,
						 "\nA name with upper-case letters must be given in double quotes.");
	return lines.len > 0 ? lines.data : NULL;
}
