/*
 * attach_parse.c
 *		Analyzes and checks the expressions of an attached log.
 *
 * The catalog has the text of the expressions, with the names of columns, so that a dump
 * can be restored.  Each backend that uses the log analyzes the text and checks the result
 * again, because the table may have changed.  attach_raw.c says why parse analysis is safe.
 *
 * Assumes that only pg_catalog is searched for names.
 */
#include "pm.h"

#include "access/sysattr.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "log/attach_allow.h"
#include "log/attach_literal.h"
#include "log/attach_parse.h"
#include "log/attach_raw.h"
#include "log/log.h"

/* An expression has at most this many nodes. */
#define ATTACH_NODES 500

/* What the walker has seen. */
typedef struct AttachWalk
{
	const char *text;
	int nodes;
	Bitmapset *columns;
} AttachWalk;

/* For the context of an error. */
typedef struct AttachText
{
	int use;
	const char *text;
} AttachText;

const char *
attach_argument(int use)
{
	if (use == ATTACH_FILTER)
		return "filter";
	return use == EVENT_POSITION ? "pos" : log_columns[use].name;
}

/*
 * The position of an error is one in the expression, not in the query of the client.
 */
static void
attach_error_context(void *arg)
{
	AttachText *expression = arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(expression->text);
	}
	errcontext("%s: %s", attach_argument(expression->use), expression->text);
}

COMPAT_NORETURN static void
attach_refuse(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("the expression cannot be used for an attached log"),
			 errdetail_internal("%s", detail),
			 errhint("An expression may have columns, constants, CASE, coalesce, and the functions "
					 "and operators that the reference lists under pm.attach_log.")));
}

/* ---------- the checks ---------- */

static void
attach_check_call(Oid function, List *args)
{
	const char *reason = attach_refuses_call(function, args);

	if (reason != NULL)
		attach_refuse(reason);
}

static void
attach_check_operator(OpExpr *expr)
{
	set_opfuncid(expr);
	if (expr->opretset)
		attach_refuse("It returns several rows.");
	attach_check_call(expr->opfuncid, expr->args);
}

/*
 * x IN ('a', 'b')
 */
static void
attach_check_in(ScalarArrayOpExpr *expr)
{
	Node *list = lsecond(expr->args);

	set_sa_opfuncid(expr);
	if (!IsA(list, Const) && !IsA(list, ArrayExpr))
		attach_refuse("It compares with an array.");
	attach_check_call(expr->opfuncid, expr->args);
}

static void
attach_check_column(Var *var, AttachWalk *walk)
{
	if (var->varno != 1 || var->varlevelsup != 0 || var->varattno < 1)
		attach_refuse("It reads something other than columns of the table.");
	walk->columns = bms_add_member(walk->columns, var->varattno);
}

static void
attach_check_io(CoerceViaIO *expr)
{
	Oid from = exprType((Node *) expr->arg);

	if (!attach_allows_io(from, expr->resulttype))
		attach_refuse(
			psprintf("It casts %s to %s.", format_type_be(from), format_type_be(expr->resulttype)));
}

static void
attach_check_type(Node *node)
{
	Oid type = exprType(node);

	/* The list of IN is an array. */
	if (!attach_allows_type(type) &&
		(!OidIsValid(get_element_type(type)) || !attach_allows_type(get_element_type(type))))
		attach_refuse(psprintf("It has a value of type %s.", format_type_be(type)));
}

static void
attach_check_const(Const *constant, AttachWalk *walk)
{
	if ((constant->consttype == TIMESTAMPOID || constant->consttype == TIMESTAMPTZOID) &&
		!constant->constisnull && !attach_literal_is_fixed(walk->text, constant->location))
		attach_refuse("A constant of a time must have the form '2026-01-31', or '2026-01-31 "
					  "12:00:00', with or without a time zone like +01: what any other form means "
					  "depends on settings or on the time.");
}

/*
 * What is not named here is refused.
 */
static bool
attach_walker(Node *node, void *arg)
{
	AttachWalk *walk = arg;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, List))
		return expression_tree_walker(node, attach_walker, arg);
	if (++walk->nodes > ATTACH_NODES)
		attach_refuse("It is too long.");
	switch (nodeTag(node))
	{
		case T_Var:
			attach_check_column((Var *) node, walk);
			break;
		case T_FuncExpr:
			if (((FuncExpr *) node)->funcretset || ((FuncExpr *) node)->funcvariadic)
				attach_refuse(
					"It calls a function with VARIADIC, or one that returns several rows.");
			attach_check_call(((FuncExpr *) node)->funcid, ((FuncExpr *) node)->args);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			attach_check_operator((OpExpr *) node);
			break;
		case T_ScalarArrayOpExpr:
			attach_check_in((ScalarArrayOpExpr *) node);
			break;
		case T_CoerceViaIO:
			attach_check_io((CoerceViaIO *) node);
			break;
		case T_CaseWhen:
			return expression_tree_walker(node, attach_walker, arg);
		case T_Const:
			attach_check_const((Const *) node, walk);
			break;
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_RelabelType:
		case T_ArrayExpr:
			break;
		default:
			attach_refuse("It has a construct that may not be used.");
	}
	attach_check_type(node);
	return expression_tree_walker(node, attach_walker, arg);
}

/* ---------- types ---------- */

COMPAT_NORETURN static void
attach_refuse_type(int use, Oid from, const char *wanted)
{
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("%s is of type %s, and must be of type %s or of a type that can be "
						   "cast to it",
						   attach_argument(use), format_type_be(from), wanted)));
}

static Node *
attach_cast(ParseState *pstate, Node *expr, int use, Oid type)
{
	Oid from = exprType(expr);
	Node *cast = coerce_to_target_type(pstate, expr, from, type, -1, COERCION_EXPLICIT,
									   COERCE_EXPLICIT_CAST, -1);

	if (cast == NULL)
		attach_refuse_type(use, from, format_type_be(type));
	return cast;
}

/*
 * A time without a time zone is one of UTC.
 */
static Node *
attach_time(ParseState *pstate, Node *expr)
{
	Oid type = getBaseType(exprType(expr));
	Const *zone;

	if (type == TIMESTAMPTZOID)
		return attach_cast(pstate, expr, EVENT_RECORDED_AT, TIMESTAMPTZOID);
	if (type != TIMESTAMPOID)
		attach_refuse_type(EVENT_RECORDED_AT, exprType(expr), "timestamptz");
	zone = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum("UTC"), false,
					 false);
	return (Node *) makeFuncExpr(F_TIMEZONE_TEXT_TIMESTAMP, TIMESTAMPTZOID, list_make2(zone, expr),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Node *
attach_convert(ParseState *pstate, Node *expr, int use)
{
	if (use == ATTACH_FILTER)
		return coerce_to_boolean(pstate, expr, "filter");
	if (use == EVENT_RECORDED_AT)
		return attach_time(pstate, expr);
	return attach_cast(pstate, expr, use, log_columns[use].type);
}

/* ---------- all of it ---------- */

static Node *
attach_analyze(Relation rel, Node *raw, int use)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL,
															 false, true);
	Node *expr;

	addNSItemToQuery(pstate, item, false, true, true);
	expr = transformExpr(pstate, raw, EXPR_KIND_INDEX_EXPRESSION);
	expr = attach_convert(pstate, expr, use);
	assign_expr_collations(pstate, expr);
	free_parsestate(pstate);
	return expr;
}

Node *
attach_parse(Relation rel, const char *text, int use, Bitmapset **columns)
{
	AttachText expression = {use, text};
	AttachWalk walk = {text, 0, *columns};
	ErrorContextCallback callback = {error_context_stack, attach_error_context, &expression};
	Node *expr;

	error_context_stack = &callback;
	expr = attach_analyze(rel, attach_raw(rel, text), use);
	(void) attach_walker(expr, &walk);
	*columns = walk.columns;
	/* Only functions that have been checked are left, so constants can be computed. */
	expr = (Node *) expression_planner((Expr *) expr);
	error_context_stack = callback.previous;
	return expr;
}
