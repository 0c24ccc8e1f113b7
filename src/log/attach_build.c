/*
 * attach_build.c
 *		What a backend knows of an attached log, in addition to a PmLog.
 *
 * The columns are looked up by name each time that the log is built.  So a column that was
 * renamed is not found, and the log cannot be read.
 *
 * Each session analyzes the expressions for itself, and they must mean the same in all of them.
 * So the settings that analysis depends on are fixed meanwhile.  What depends on others, or on the
 * time, is refused (attach_allow.c, attach_literal.c).
 */
#include "pm.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/attempt.h"
#include "log/attach_build.h"
#include "log/attach_check.h"
#include "log/attach_parse.h"
#include "log/attach_raw.h"
#include "log/attached.h"

/* The arguments of attach_build_all(). */
typedef struct AttachBuild
{
	PmLog *log;
	Relation rel;
	const LogRow *row;
} AttachBuild;

/* Settings, and their values while expressions are analyzed. */
static const char *const attach_settings[][2] = {
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"standard_conforming_strings", "on"},
	{"transform_null_equals", "off"},
};

static Oid
attach_type_of(Relation rel, AttrNumber attnum)
{
	return TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;
}

/*
 * Can the values of such a column be used as they are?
 */
static bool
attach_is_same(int attribute, Oid type)
{
	Oid base = getBaseType(type);

	return base == log_columns[attribute].type ||
		   (base == VARCHAROID && log_columns[attribute].type == TEXTOID);
}

static void
attach_note_columns(PmLog *log, Relation rel, AttachColumns *noted, Bitmapset *columns)
{
	int attnum = -1;

	noted->columns = MemoryContextAllocZero(log->context, sizeof(AttachColumn) *
															  Max(bms_num_members(columns), 1));
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		noted->columns[noted->count].attnum = attnum;
		noted->columns[noted->count++].type = attach_type_of(rel, attnum);
	}
}

/*
 * Copies an expression to where the log is.
 */
static Node *
attach_keep(PmLog *log, Node *expr)
{
	MemoryContext old = MemoryContextSwitchTo(log->context);
	Node *copy = copyObject(expr);

	MemoryContextSwitchTo(old);
	return copy;
}

/*
 * The positions are a column itself, since only its sequence and its index tell what the
 * mark needs.
 */
static void
attach_build_position(AttachBuild *build, struct AttachedLog *attached)
{
	const char *name = build->row->columns[EVENT_POSITION];
	AttrNumber attnum = attach_raw_column(build->rel, name);
	Oid type = attach_type_of(build->rel, attnum);

	if (type != INT8OID && type != INT4OID)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("column \"%s\" of table \"%s\" is of type %s", name,
							   RelationGetRelationName(build->rel), format_type_be(type)),
						errdetail("Positions are of type bigint or integer.")));
	attached->narrow = type == INT4OID;
	build->log->attnum[EVENT_POSITION] = attnum;
}

static void
attach_build_attribute(AttachBuild *build, struct AttachedLog *attached, int attribute,
					   Bitmapset **plain, Bitmapset **used)
{
	const char *text = build->row->columns[attribute];
	Bitmapset *columns = NULL;
	Node *expr;
	char *name;

	build->log->attnum[attribute] = InvalidAttrNumber;
	if (text == NULL)
		return;
	expr = attach_parse(build->rel, text, attribute, &columns);
	name = attach_raw_name(attach_raw(build->rel, text));
	if (name != NULL)
	{
		AttrNumber attnum = attach_raw_column(build->rel, name);

		if (attach_is_same(attribute, attach_type_of(build->rel, attnum)))
		{
			build->log->attnum[attribute] = attnum;
			*plain = bms_add_member(*plain, attnum);
		}
	}
	/* A concatenation of columns with different collations has none. */
	if (attribute == EVENT_TYPE)
		attached->collation = OidIsValid(exprCollation(expr)) ? exprCollation(expr) :
																DEFAULT_COLLATION_OID;
	if (build->log->attnum[attribute] != InvalidAttrNumber)
		return;
	attached->exprs[attribute] = attach_keep(build->log, expr);
	attached->computed = true;
	*used = bms_union(*used, columns);
}

static void
attach_fix_settings(void)
{
	for (int i = 0; i < lengthof(attach_settings); i++)
		(void) set_config_option(attach_settings[i][0], attach_settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
attach_build_all(void *arg)
{
	static uint64 number = 0;
	AttachBuild *build = arg;
	PmLog *log = build->log;
	struct AttachedLog *attached = MemoryContextAllocZero(log->context, sizeof(*attached));
	Bitmapset *plain = NULL;
	Bitmapset *used = NULL;
	Bitmapset *filtered = NULL;
	int level = NewGUCNestLevel();

	attached->number = ++number;
	attach_fix_settings();
	attach_build_position(build, attached);
	plain = bms_add_member(plain, log->attnum[EVENT_POSITION]);
	for (int i = EVENT_STREAM; i <= EVENT_ATTRIBUTES; i++)
		attach_build_attribute(build, attached, i, &plain, &used);
	if (build->row->filter != NULL)
		attached->filter = attach_keep(log, attach_parse(build->rel, build->row->filter,
														 ATTACH_FILTER, &filtered));
	AtEOXact_GUC(true, level);
	attach_note_columns(log, build->rel, &attached->plain, plain);
	attach_note_columns(log, build->rel, &attached->by_exprs, used);
	attach_note_columns(log, build->rel, &attached->by_filter, filtered);
	/* A statement that names a partition does not fire the trigger. */
	attached->woken = attach_has_trigger(build->rel) && !log->partitioned;
	log->attached = attached;
}

/*
 * Its names, as the other files use them in messages.
 */
static void
attach_build_names(PmLog *log, const LogRow *row)
{
	log->pos = MemoryContextStrdup(log->context, quote_identifier(row->columns[EVENT_POSITION]));
	log->stream = log->version = log->type = log->data = log->metadata = log->recorded_at = "";
}

void
attach_build(PmLog *log, Relation rel, const LogRow *row)
{
	AttachBuild build = {log, rel, row};
	ErrorData *error;

	attach_build_names(log, row);
	if (attempt_any(attach_build_all, &build, &error))
		return;
	log->attached = NULL;
	log_note_problem(log, psprintf("log \"%s\": %s", log->name, error->message),
					 error->hint != NULL ? error->hint : error->detail);
}

void
attach_build_or_fail(PmLog *log, Relation rel, const LogRow *row)
{
	AttachBuild build = {log, rel, row};

	attach_build_names(log, row);
	attach_build_all(&build);
}
