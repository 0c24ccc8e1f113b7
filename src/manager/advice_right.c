/*
 * advice_right.c
 *		Says which right a role lacks.
 *
 * If a right is missing, PostgreSQL's message is "permission denied for table till".  It
 * names neither the schema of the table nor the right.  So the objects of that name are
 * looked up, and if the role lacks something on exactly one of them, that is what is missing.
 *
 * A handler can raise any message.  What is said here depends on nothing but the names and
 * rights of objects, which every role can look up.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "lib/stringinfo.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "manager/advice_right.h"

typedef enum AdviceObject
{
	ADVICE_TABLE,
	ADVICE_SEQUENCE,
	ADVICE_FUNCTION,
	ADVICE_SCHEMA
} AdviceObject;

/* The messages of aclcheck_error(), in English. */
static const struct
{
	const char *format;
	AdviceObject object;
} advice_messages[] = {
	{"permission denied for table %s", ADVICE_TABLE},
	{"permission denied for view %s", ADVICE_TABLE},
	{"permission denied for materialized view %s", ADVICE_TABLE},
	{"permission denied for foreign table %s", ADVICE_TABLE},
	{"permission denied for sequence %s", ADVICE_SEQUENCE},
	{"permission denied for function %s", ADVICE_FUNCTION},
	{"permission denied for procedure %s", ADVICE_FUNCTION},
	{"permission denied for schema %s", ADVICE_SCHEMA},
};

static const struct
{
	AclMode right;
	const char *name;
} advice_rights[] = {
	{ACL_SELECT, "SELECT"},
	{ACL_INSERT, "INSERT"},
	{ACL_UPDATE, "UPDATE"},
	{ACL_DELETE, "DELETE"},
};

/*
 * The name in a message of a format; NULL if the message has another format.
 */
static char *
advice_right_name(const char *message, const char *format)
{
	const char *place = strstr(format, "%s");
	size_t before = place == NULL ? 0 : place - format;
	size_t after = place == NULL ? 0 : strlen(place + 2);
	size_t length = strlen(message);

	if (place == NULL || length <= before + after || length - before - after >= NAMEDATALEN ||
		strncmp(message, format, before) != 0 || strcmp(message + length - after, place + 2) != 0)
		return NULL;
	return pnstrdup(message + before, length - before - after);
}

/* ---------- tables and sequences ---------- */

/*
 * What the role lacks on a table; NULL if it lacks nothing.
 */
static char *
advice_right_table(Oid relid, const char *table, Oid role, const char *user)
{
	const char *lacks[lengthof(advice_rights)];
	int count = 0;
	bool missing = false;
	StringInfoData list;

	for (int i = 0; i < lengthof(advice_rights); i++)
		if (pg_class_aclcheck_ext(relid, role, advice_rights[i].right, &missing) != ACLCHECK_OK)
			lacks[count++] = advice_rights[i].name;
	/* It may have been dropped since it was looked up. */
	if (count == 0 || missing)
		return NULL;
	if (count == 1)
		return psprintf("Run GRANT %s ON %s TO %s.", lacks[0], table, user);
	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : i == count - 1 ? " and " : ", ", lacks[i]);
	return psprintf("It lacks %s on %s: grant it those that the handler needs.", list.data, table);
}

static char *
advice_right_sequence(Oid relid, const char *sequence, Oid role, const char *user)
{
	bool missing = false;

	if (pg_class_aclcheck_ext(relid, role, ACL_USAGE, &missing) == ACLCHECK_OK || missing)
		return NULL;
	return psprintf("Run GRANT USAGE ON SEQUENCE %s TO %s.", sequence, user);
}

/*
 * What the role lacks on the only relation of the name on which it lacks anything.
 */
static char *
advice_right_relation(const char *name, AdviceObject object, Oid role, const char *user)
{
	CatCList *list = SearchSysCacheList1(RELNAMENSP, CStringGetDatum(name));
	char *found = NULL;
	int count = 0;

	for (int i = 0; i < list->n_members && count < 2; i++)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(&list->members[i]->tuple);
		char *schema = get_namespace_name(form->relnamespace);
		char *relation;
		char *lacks;

		/* Other sessions' temporary tables, and indexes, cannot be what is meant. */
		if (schema == NULL || form->relpersistence == RELPERSISTENCE_TEMP ||
			form->relkind == RELKIND_INDEX || form->relkind == RELKIND_PARTITIONED_INDEX ||
			(form->relkind == RELKIND_SEQUENCE) != (object == ADVICE_SEQUENCE))
			continue;
		relation = quote_qualified_identifier(schema, name);
		lacks = object == ADVICE_SEQUENCE ? advice_right_sequence(form->oid, relation, role, user) :
											advice_right_table(form->oid, relation, role, user);
		if (lacks == NULL)
			continue;
		found = lacks;
		count++;
	}
	ReleaseSysCacheList(list);
	return count == 1 ? found : NULL;
}

/* ---------- functions and schemas ---------- */

static char *
advice_right_function(const char *name, Oid role, const char *user)
{
	CatCList *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	char *found = NULL;
	int count = 0;

	for (int i = 0; i < list->n_members && count < 2; i++)
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		/* It may have been dropped since it was looked up. */
		if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(form->oid)) ||
			compat_proc_aclcheck(form->oid, role, ACL_EXECUTE) == ACLCHECK_OK)
			continue;
		found = psprintf("Run GRANT EXECUTE ON %s %s TO %s.",
						 form->prokind == PROKIND_PROCEDURE ? "PROCEDURE" : "FUNCTION",
						 format_procedure_qualified(form->oid), user);
		count++;
	}
	ReleaseSysCacheList(list);
	return count == 1 ? found : NULL;
}

static char *
advice_right_schema(const char *name, Oid role, const char *user)
{
	Oid schema = get_namespace_oid(name, true);
	const char *right = NULL;

	if (!SearchSysCacheExists1(NAMESPACEOID, ObjectIdGetDatum(schema)))
		return NULL;
	if (compat_namespace_aclcheck(schema, role, ACL_USAGE) != ACLCHECK_OK)
		right = "USAGE";
	else if (compat_namespace_aclcheck(schema, role, ACL_CREATE) != ACLCHECK_OK)
		right = "CREATE";
	if (right == NULL)
		return NULL;
	return psprintf("Run GRANT %s ON SCHEMA %s TO %s.", right, quote_identifier(name), user);
}

char *
advice_right(const char *message, Oid role)
{
	const char *user = GetUserNameFromId(role, true);

	if (user == NULL)
		return NULL;
	user = quote_identifier(user);
	for (int i = 0; i < lengthof(advice_messages); i++)
	{
		const char *format = advice_messages[i].format;
		char *name = advice_right_name(message, format);

		/* It may have been written in the server's language. */
		if (name == NULL)
			name = advice_right_name(message, _(format));
		if (name == NULL)
			continue;
		switch (advice_messages[i].object)
		{
			case ADVICE_TABLE:
			case ADVICE_SEQUENCE:
				return advice_right_relation(name, advice_messages[i].object, role, user);
			case ADVICE_FUNCTION:
				return advice_right_function(name, role, user);
			case ADVICE_SCHEMA:
				return advice_right_schema(name, role, user);
		}
	}
	return NULL;
}
