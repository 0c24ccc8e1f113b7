/*
 * identifier.c
 *		Names of tables and functions as SQL reads them.
 *
 * SplitIdentifierString(), which the server uses for such names, truncates an
 * identifier that is too long.  A truncated name is the name of another object, so
 * here an identifier that is too long is an error.  All other rules are the same.
 */
#include "pm.h"

#include "lib/stringinfo.h"
#include "nodes/value.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/identifier.h"

/*
 * Reads the identifier at *next and moves *next past it; NULL if there is none.  An
 * unquoted identifier is folded to lower case; a quoted one loses its quotes.
 */
static char *
identifier_next(const char **next)
{
	const char *start = *next;
	const char *end = start;
	StringInfoData value;

	if (*start != '"')
	{
		while (*end != '\0' && *end != '.' && !scanner_isspace(*end))
			end++;
		*next = end;
		return end == start ? NULL : downcase_identifier(start, end - start, false, false);
	}
	initStringInfo(&value);
	for (end = start + 1; *end != '\0'; end++)
	{
		/* Two quotes stand for one; a single quote ends the identifier. */
		if (*end == '"' && *++end != '"')
		{
			*next = end;
			return value.len == 0 ? NULL : value.data;
		}
		appendStringInfoChar(&value, *end);
	}
	return NULL;
}

static const char *
identifier_skip_space(const char *next)
{
	while (scanner_isspace(*next))
		next++;
	return next;
}

List *
identifier_split(const char *name)
{
	const char *next = identifier_skip_space(name);
	List *parts = NIL;

	for (;;)
	{
		char *part = identifier_next(&next);

		if (part == NULL)
			return NIL;
		if (strlen(part) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG), errmsg("identifier is too long: \"%s\"", part),
					 errdetail("It has %d bytes, but an identifier can have at most %d.",
							   (int) strlen(part), NAMEDATALEN - 1)));
		parts = lappend(parts, part);
		next = identifier_skip_space(next);
		if (*next == '\0')
			return parts;
		if (*next != '.')
			return NIL;
		next = identifier_skip_space(next + 1);
	}
}

List *
identifier_values(const char *name)
{
	List *values = NIL;
	ListCell *lc;

	foreach(lc, identifier_split(name))
		values = lappend(values, makeString(lfirst(lc)));
	return values;
}

char *
identifier_of_relation(Oid relid)
{
	char *name = get_rel_name(relid);
	char *schema = name == NULL ? NULL : get_namespace_name(get_rel_namespace(relid));

	return schema == NULL ? NULL : quote_qualified_identifier(schema, name);
}

const char *
identifier_arguments(const char *signature)
{
	bool quoted = false;

	for (; *signature != '\0'; signature++)
	{
		if (*signature == '"')
			quoted = !quoted;
		else if (*signature == '(' && !quoted)
			return signature;
	}
	return NULL;
}
