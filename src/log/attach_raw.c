/*
 * attach_raw.c
 *		Parses the text of an expression of an attached log, and checks its names.
 *
 * Parse analysis can run code of users: it calls the input function of a type to convert a
 * literal.  The text is analyzed in the session of each follower (attach_parse.c).  So the
 * raw parse tree is checked first: all types and operators are looked up in pg_catalog only,
 * and all columns have types of pg_catalog, so that a literal cannot get any other type.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "log/attach_allow.h"
#include "log/attach_raw.h"

/* The text of an expression has at most this many bytes. */
#define ATTACH_RAW_LENGTH 4000

#define ATTACH_RAW_HINT                                                                            \
	"An expression may have columns, constants, CASE, coalesce, and the functions and operators "  \
	"that the reference lists under pm.attach_log."

COMPAT_NORETURN static void
attach_raw_refuse(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					errmsg("the expression cannot be used for an attached log"),
					errdetail_internal("%s", detail), errhint(ATTACH_RAW_HINT)));
}

/*
 * Returns the last part of a name that is not qualified, or is qualified with
 * pg_catalog; NULL otherwise.
 */
static const char *
attach_raw_builtin(List *names)
{
	if (list_length(names) == 1)
		return strVal(linitial(names));
	if (list_length(names) == 2 && strcmp(strVal(linitial(names)), "pg_catalog") == 0)
		return strVal(lsecond(names));
	return NULL;
}

AttrNumber
attach_raw_column(Relation rel, const char *name)
{
	TupleDesc desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		if (att->attgenerated == COMPAT_GENERATED_VIRTUAL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
							errmsg("column \"%s\" of table \"%s\" is a virtual generated column",
								   name, RelationGetRelationName(rel)),
							errhint("Its values are not in the table. Use the columns that it is "
									"computed from.")));
		if (!attach_allows_type(att->atttypid))
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
							errmsg("column \"%s\" of table \"%s\" is of type %s", name,
								   RelationGetRelationName(rel), format_type_be(att->atttypid)),
							errhint("An attached log can use columns of the types text, varchar, "
									"char, name, uuid, integer, bigint, numeric, boolean, json, "
									"jsonb, timestamp and timestamptz, and of enums.")));
		return att->attnum;
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("table \"%s\" has no column \"%s\"", RelationGetRelationName(rel), name),
					errhint("If the column was renamed, give it its name back, or attach the log "
							"again with the new one.")));
}

char *
attach_raw_name(Node *raw)
{
	ColumnRef *column = (ColumnRef *) raw;

	if (!IsA(raw, ColumnRef) || list_length(column->fields) != 1 ||
		!IsA(linitial(column->fields), String))
		return NULL;
	return strVal(linitial(column->fields));
}

static void
attach_raw_check_column(Relation rel, Node *node)
{
	char *name = attach_raw_name(node);

	if (name == NULL)
		attach_raw_refuse("Columns are named without their table.");
	(void) attach_raw_column(rel, name);
}

static void
attach_raw_check_call(FuncCall *call)
{
	const char *name = attach_raw_builtin(call->funcname);

	if (name == NULL || !attach_allows_name(name))
		attach_raw_refuse(psprintf("Function %s is not among those that may be used.",
								   NameListToString(call->funcname)));
	if (call->agg_order != NIL || call->agg_filter != NULL || call->over != NULL ||
		call->agg_within_group || call->agg_star || call->agg_distinct || call->func_variadic)
		attach_raw_refuse("It calls a function with syntax that only aggregates and window "
						  "functions have, or with VARIADIC.");
}

static void
attach_raw_check_operator(A_Expr *expr)
{
	switch (expr->kind)
	{
		case AEXPR_OP:
		case AEXPR_DISTINCT:
		case AEXPR_NOT_DISTINCT:
		case AEXPR_NULLIF:
		case AEXPR_IN:
		case AEXPR_LIKE:
		case AEXPR_BETWEEN:
		case AEXPR_NOT_BETWEEN:
			break;
		default:
			attach_raw_refuse("It has a kind of comparison that may not be used.");
	}
	if (attach_raw_builtin(expr->name) == NULL)
		attach_raw_refuse("It has an operator that is not one of pg_catalog.");
}

static void
attach_raw_check_type(TypeName *type)
{
	const char *name = attach_raw_builtin(type->names);

	if (name == NULL || !attach_allows_type_name(name) || type->setof || type->pct_type ||
		type->arrayBounds != NIL || type->typmods != NIL)
		attach_raw_refuse(
			psprintf("It has a cast to type %s, which may not be used.", TypeNameToString(type)));
}

/*
 * What is not named here is refused: subqueries, parameters, arrays, rows and so on.
 */
static bool
attach_raw_walker(Node *node, void *rel)
{
	if (node == NULL)
		return false;
	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_ColumnRef:
			attach_raw_check_column(rel, node);
			break;
		case T_FuncCall:
			attach_raw_check_call((FuncCall *) node);
			break;
		case T_A_Expr:
			attach_raw_check_operator((A_Expr *) node);
			break;
		case T_TypeName:
			attach_raw_check_type((TypeName *) node);
			break;
		case T_A_Const:
		case T_TypeCast:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CoalesceExpr:
		case T_List:
			break;
		default:
			attach_raw_refuse("It has a construct that may not be used, such as a subquery, an "
							  "array, a row or a parameter.");
	}
	return raw_expression_tree_walker(node, attach_raw_walker, rel);
}

/*
 * The expression of the statement, if there is nothing else.
 */
static Node *
attach_raw_only(List *statements)
{
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	ResTarget *target;

	if (list_length(statements) != 1 || !IsA(select, SelectStmt) || select->op != SETOP_NONE ||
		list_length(select->targetList) != 1 || select->distinctClause != NIL ||
		select->intoClause != NULL || select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL || select->windowClause != NIL ||
		select->valuesLists != NIL || select->sortClause != NIL || select->limitOffset != NULL ||
		select->limitCount != NULL || select->lockingClause != NIL || select->withClause != NULL)
		attach_raw_refuse("It must be one expression.");
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL || target->indirection != NIL)
		attach_raw_refuse("It must be one expression.");
	return target->val;
}

Node *
attach_raw(Relation rel, const char *text)
{
	Node *raw;

	if (strlen(text) > ATTACH_RAW_LENGTH)
		attach_raw_refuse(psprintf("It has more than %d bytes.", ATTACH_RAW_LENGTH));
	/* What a backslash means depends on settings of the session. */
	if (strchr(text, '\\') != NULL)
		attach_raw_refuse("It has a backslash.");
	raw = attach_raw_only(raw_parser(text, RAW_PARSE_PLPGSQL_EXPR));
	(void) attach_raw_walker(raw, rel);
	return raw;
}
