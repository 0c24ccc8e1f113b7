/*
 * attach_allow.c
 *		What the expressions of an attached log may contain.
 *
 * Any role that may read a table may attach it, and the expressions run in the sessions of
 * the log's followers.  So they must not run code of another user, see or change anything
 * but the row, depend on settings, or take time or memory out of proportion to the row.
 * What the catalogs say about a function does not show that: factorial, repeat and regular
 * expressions are immutable.  So each permitted function is listed here, by its OID, which
 * is the same in all versions.
 *
 * Where the time of a function depends on the product of two arguments, one of them must
 * be a short constant.
 */
#include "pm.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "log/attach_allow.h"

/* A constant that must be short has at most this many bytes. */
#define ATTACH_SHORT 100

/* Which arguments of a function must be short constants, or what else holds for them. */
enum
{
	ATTACH_ANY = 0,
	ATTACH_SECOND_CONST = 2,
	ATTACH_PREFIX = 4, /* the second one is a pattern of LIKE for a prefix */
	ATTACH_JSON = 8,   /* all are of types that look the same in JSON whatever the settings */
	ATTACH_ZONE = 16   /* the first one is the name of a time zone */
};

typedef struct AttachFunction
{
	Oid oid;
	int rule;
} AttachFunction;

static const AttachFunction attach_functions[] = {
	/* text */
	{F_LOWER_TEXT, ATTACH_ANY},
	{F_UPPER_TEXT, ATTACH_ANY},
	{F_LENGTH_TEXT, ATTACH_ANY},
	{F_LEFT, ATTACH_ANY},
	{F_RIGHT, ATTACH_ANY},
	{F_SUBSTRING_TEXT_INT4, ATTACH_ANY},
	{F_SUBSTRING_TEXT_INT4_INT4, ATTACH_ANY},
	{F_SUBSTR_TEXT_INT4, ATTACH_ANY},
	{F_SUBSTR_TEXT_INT4_INT4, ATTACH_ANY},
	{F_SPLIT_PART, ATTACH_SECOND_CONST},
	{F_BTRIM_TEXT, ATTACH_ANY},
	{F_LTRIM_TEXT, ATTACH_ANY},
	{F_RTRIM_TEXT, ATTACH_ANY},
	{F_STARTS_WITH, ATTACH_ANY},
	{F_TEXTCAT, ATTACH_ANY},
	{F_TEXTLIKE, ATTACH_PREFIX},
	{F_TEXTNLIKE, ATTACH_PREFIX},
	{F_TEXTEQ, ATTACH_ANY},
	{F_TEXTNE, ATTACH_ANY},
	{F_BPCHAREQ, ATTACH_ANY},
	{F_BPCHARNE, ATTACH_ANY},
	{F_NAMEEQ, ATTACH_ANY},
	{F_NAMENE, ATTACH_ANY},
	{F_NAMEEQTEXT, ATTACH_ANY},
	{F_NAMENETEXT, ATTACH_ANY},
	{F_TEXTEQNAME, ATTACH_ANY},
	{F_TEXTNENAME, ATTACH_ANY},
	{F_CHAREQ, ATTACH_ANY},
	{F_CHARNE, ATTACH_ANY},
	{F_UUID_EQ, ATTACH_ANY},
	{F_UUID_NE, ATTACH_ANY},
	{F_ENUM_EQ, ATTACH_ANY},
	{F_ENUM_NE, ATTACH_ANY},
	{F_TEXT_BPCHAR, ATTACH_ANY},
	{F_TEXT_NAME, ATTACH_ANY},
	{F_TEXT_CHAR, ATTACH_ANY},
	{F_TEXT_BOOL, ATTACH_ANY},
	/* numbers and booleans */
	{F_BOOLEQ, ATTACH_ANY},
	{F_BOOLNE, ATTACH_ANY},
	{F_INT2EQ, ATTACH_ANY},
	{F_INT2NE, ATTACH_ANY},
	{F_INT2LT, ATTACH_ANY},
	{F_INT2LE, ATTACH_ANY},
	{F_INT2GT, ATTACH_ANY},
	{F_INT2GE, ATTACH_ANY},
	{F_INT24EQ, ATTACH_ANY},
	{F_INT24NE, ATTACH_ANY},
	{F_INT24LT, ATTACH_ANY},
	{F_INT24LE, ATTACH_ANY},
	{F_INT24GT, ATTACH_ANY},
	{F_INT24GE, ATTACH_ANY},
	{F_INT4EQ, ATTACH_ANY},
	{F_INT4NE, ATTACH_ANY},
	{F_INT4LT, ATTACH_ANY},
	{F_INT4LE, ATTACH_ANY},
	{F_INT4GT, ATTACH_ANY},
	{F_INT4GE, ATTACH_ANY},
	{F_INT8EQ, ATTACH_ANY},
	{F_INT8NE, ATTACH_ANY},
	{F_INT8LT, ATTACH_ANY},
	{F_INT8LE, ATTACH_ANY},
	{F_INT8GT, ATTACH_ANY},
	{F_INT8GE, ATTACH_ANY},
	{F_INT84EQ, ATTACH_ANY},
	{F_INT84NE, ATTACH_ANY},
	{F_INT84LT, ATTACH_ANY},
	{F_INT84LE, ATTACH_ANY},
	{F_INT84GT, ATTACH_ANY},
	{F_INT84GE, ATTACH_ANY},
	{F_INT4PL, ATTACH_ANY},
	{F_INT4MI, ATTACH_ANY},
	{F_INT4MUL, ATTACH_ANY},
	{F_INT4DIV, ATTACH_ANY},
	{F_INT8PL, ATTACH_ANY},
	{F_INT8MI, ATTACH_ANY},
	{F_INT8MUL, ATTACH_ANY},
	{F_INT8DIV, ATTACH_ANY},
	{F_INT84PL, ATTACH_ANY},
	{F_INT84MI, ATTACH_ANY},
	{F_INT84MUL, ATTACH_ANY},
	{F_INT84DIV, ATTACH_ANY},
	{F_INT4_INT2, ATTACH_ANY},
	{F_INT4_INT8, ATTACH_ANY},
	{F_INT8_INT2, ATTACH_ANY},
	{F_INT8_INT4, ATTACH_ANY},
	{F_FLOAT8_INT4, ATTACH_ANY},
	{F_FLOAT8_INT8, ATTACH_ANY},
	{F_FLOAT8DIV, ATTACH_ANY},
	/* JSON */
	{F_JSON_OBJECT_FIELD, ATTACH_ANY},
	{F_JSON_OBJECT_FIELD_TEXT, ATTACH_ANY},
	{F_JSON_ARRAY_ELEMENT, ATTACH_ANY},
	{F_JSON_ARRAY_ELEMENT_TEXT, ATTACH_ANY},
	{F_JSON_EXTRACT_PATH, ATTACH_SECOND_CONST},
	{F_JSON_EXTRACT_PATH_TEXT, ATTACH_SECOND_CONST},
	{F_JSONB_OBJECT_FIELD, ATTACH_ANY},
	{F_JSONB_OBJECT_FIELD_TEXT, ATTACH_ANY},
	{F_JSONB_ARRAY_ELEMENT, ATTACH_ANY},
	{F_JSONB_ARRAY_ELEMENT_TEXT, ATTACH_ANY},
	{F_JSONB_EXTRACT_PATH, ATTACH_SECOND_CONST},
	{F_JSONB_EXTRACT_PATH_TEXT, ATTACH_SECOND_CONST},
	{F_JSONB_EXISTS, ATTACH_SECOND_CONST},
	{F_JSONB_CONTAINS, ATTACH_SECOND_CONST},
	{F_JSONB_TYPEOF, ATTACH_ANY},
	{F_JSONB_CONCAT, ATTACH_ANY},
	{F_JSONB_BUILD_OBJECT_ANY, ATTACH_JSON},
	{F_JSONB_BUILD_ARRAY_ANY, ATTACH_JSON},
	{F_TO_JSONB, ATTACH_JSON},
	/* times */
	{F_TIMESTAMP_EQ, ATTACH_ANY},
	{F_TIMESTAMP_LT, ATTACH_ANY},
	{F_TIMESTAMP_LE, ATTACH_ANY},
	{F_TIMESTAMP_GT, ATTACH_ANY},
	{F_TIMESTAMP_GE, ATTACH_ANY},
	{F_TIMESTAMPTZ_EQ, ATTACH_ANY},
	{F_TIMESTAMPTZ_LT, ATTACH_ANY},
	{F_TIMESTAMPTZ_LE, ATTACH_ANY},
	{F_TIMESTAMPTZ_GT, ATTACH_ANY},
	{F_TIMESTAMPTZ_GE, ATTACH_ANY},
	{F_TIMEZONE_TEXT_TIMESTAMP, ATTACH_ZONE},
	{F_TIMEZONE_TEXT_TIMESTAMPTZ, ATTACH_ZONE},
	{F_TO_TIMESTAMP_FLOAT8, ATTACH_ANY},
};

/* Functions that can be called by name.  The parser itself calls some for its own syntax. */
static const char *const attach_names[] = {
	"btrim",
	"jsonb_build_array",
	"jsonb_build_object",
	"jsonb_typeof",
	"left",
	"length",
	"lower",
	"ltrim",
	"right",
	"rtrim",
	"split_part",
	"starts_with",
	"substr",
	"substring",
	"timezone",
	"to_jsonb",
	"to_timestamp",
	"upper",
};

static const char *const attach_type_names[] = {
	"bool", "boolean", "bigint", "float8", "int",  "int2",		"int4",		   "int8",
	"json", "jsonb",   "text",	 "uuid",   "name", "timestamp", "timestamptz", "varchar",
};

static const Oid attach_types[] = {
	BOOLOID,   CHAROID,		 NAMEOID,		 INT2OID,	 INT4OID,	   INT8OID, FLOAT8OID,
	OIDOID,	   NUMERICOID,	 TEXTOID,		 JSONOID,	 JSONBOID,	   UUIDOID, VARCHAROID,
	BPCHAROID, TIMESTAMPOID, TIMESTAMPTZOID, UNKNOWNOID, TEXTARRAYOID,
};

/* Types whose text, and whose value in JSON, does not depend on settings. */
static const Oid attach_fixed_types[] = {
	BOOLOID, CHAROID, NAMEOID,	INT2OID, INT4OID,	 INT8OID,	OIDOID,		NUMERICOID,
	TEXTOID, JSONOID, JSONBOID, UUIDOID, VARCHAROID, BPCHAROID, UNKNOWNOID,
};

/* Types that a text can be converted to, without running code of a user. */
static const Oid attach_read_types[] = {BOOLOID, INT2OID,  INT4OID, INT8OID,   TEXTOID,
										JSONOID, JSONBOID, UUIDOID, VARCHAROID};

static bool
attach_has_name(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static bool
attach_has_oid(const Oid *oids, int count, Oid oid)
{
	for (int i = 0; i < count; i++)
		if (oids[i] == oid)
			return true;
	return false;
}

bool
attach_allows_name(const char *function)
{
	return attach_has_name(attach_names, lengthof(attach_names), function);
}

bool
attach_allows_type_name(const char *type)
{
	return attach_has_name(attach_type_names, lengthof(attach_type_names), type);
}

/*
 * The functions of an enum type are PostgreSQL's own.
 */
static bool
attach_is_enum(Oid type)
{
	return get_typtype(type) == TYPTYPE_ENUM;
}

/*
 * Reading a column does not check its domain.
 */
bool
attach_allows_type(Oid type)
{
	Oid base = getBaseType(type);

	return attach_has_oid(attach_types, lengthof(attach_types), base) || attach_is_enum(base);
}

static bool
attach_is_fixed(Oid type)
{
	Oid base = getBaseType(type);

	return attach_has_oid(attach_fixed_types, lengthof(attach_fixed_types), base) ||
		   attach_is_enum(base);
}

bool
attach_allows_io(Oid from, Oid to)
{
	return attach_is_fixed(from) &&
		   attach_has_oid(attach_read_types, lengthof(attach_read_types), to);
}

/* ---------- calls ---------- */

/*
 * Is it a constant that is not null, and short?
 */
static bool
attach_is_short(Node *arg)
{
	Const *constant = (Const *) arg;

	if (!IsA(arg, Const) || constant->constisnull)
		return false;
	return constant->constlen != -1 ||
		   VARSIZE_ANY_EXHDR(DatumGetPointer(constant->constvalue)) <= ATTACH_SHORT;
}

/*
 * Is it a pattern that begins with what it looks for, and ends with the only %?
 */
static bool
attach_is_prefix(Node *arg)
{
	char *pattern;

	if (!attach_is_short(arg) || ((Const *) arg)->consttype != TEXTOID)
		return false;
	pattern = TextDatumGetCString(((Const *) arg)->constvalue);
	return strpbrk(pattern, "_\\") == NULL && strlen(pattern) > 1 &&
		   strchr(pattern, '%') == pattern + strlen(pattern) - 1;
}

/*
 * Is it the full name of a time zone?  An abbreviation has no slash.
 */
static bool
attach_is_zone(Node *arg)
{
	char *zone;

	if (!attach_is_short(arg) || ((Const *) arg)->consttype != TEXTOID)
		return false;
	zone = TextDatumGetCString(((Const *) arg)->constvalue);
	return pg_strcasecmp(zone, "UTC") == 0 || (strchr(zone, '/') != NULL && pg_tzset(zone) != NULL);
}

static const char *
attach_refuses_arguments(int rule, List *args)
{
	ListCell *lc;

	if (rule == ATTACH_PREFIX && !attach_is_prefix(lsecond(args)))
		return "The pattern of LIKE must be a constant whose only wildcard is a % at its end.";
	if (rule == ATTACH_ZONE && !attach_is_zone(linitial(args)))
		return "A time zone must be a constant like 'UTC' or 'Europe/Berlin': what an abbreviation "
			   "means depends on settings.";
	if (rule == ATTACH_SECOND_CONST && !attach_is_short(lsecond(args)))
		return psprintf("One of the arguments of a function must be a constant of at most %d "
						"bytes.",
						ATTACH_SHORT);
	if (rule == ATTACH_JSON)
		foreach(lc, args)
			if (!attach_is_fixed(exprType(lfirst(lc))))
				return psprintf(
					"A value of type %s becomes JSON in a way that depends on settings.",
					format_type_be(exprType(lfirst(lc))));
	return NULL;
}

const char *
attach_refuses_call(Oid function, List *args)
{
	for (int i = 0; i < lengthof(attach_functions); i++)
		if (attach_functions[i].oid == function)
			return attach_refuses_arguments(attach_functions[i].rule, args);
	return psprintf("Function %s is not among those that may be used.", format_procedure(function));
}
