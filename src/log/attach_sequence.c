/*
 * attach_sequence.c
 *		The sequence from which a column of positions is filled.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "nodes/primnodes.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "log/attach_sequence.h"

/*
 * The sequence of nextval('...'), which can be cast to the type of the column.
 */
static Oid
attach_sequence_of_default(Node *expr)
{
	FuncExpr *call = (FuncExpr *) expr;

	if (IsA(expr, FuncExpr) && call->funcid == F_INT4_INT8)
		call = linitial(call->args);
	if (!IsA(call, FuncExpr) || call->funcid != F_NEXTVAL || !IsA(linitial(call->args), Const))
		return InvalidOid;
	return DatumGetObjectId(linitial_node(Const, call->args)->constvalue);
}

Oid
attach_sequence(Relation rel, AttrNumber attnum, bool *other)
{
	TupleDesc desc = RelationGetDescr(rel);
	Oid seqid;

	*other = false;
	if (TupleDescAttr(desc, attnum - 1)->attidentity != '\0')
		return compat_identity_sequence(rel, attnum);
	for (int i = 0; desc->constr != NULL && i < desc->constr->num_defval; i++)
		if (desc->constr->defval[i].adnum == attnum)
		{
			seqid = attach_sequence_of_default(stringToNode(desc->constr->defval[i].adbin));
			*other = !OidIsValid(seqid);
			return seqid;
		}
	return InvalidOid;
}

/*
 * The tuple in the system cache has the header of the row.
 */
TransactionId
attach_sequence_xmin(Oid seqid)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	TransactionId xmin;

	if (!HeapTupleIsValid(tuple))
		return InvalidTransactionId;
	xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return xmin;
}
