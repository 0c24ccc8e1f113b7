/*
 * attached.h
 *		What an attached log has in addition to a PmLog.
 */
#ifndef PM_ATTACHED_H
#define PM_ATTACHED_H

#include "nodes/nodes.h"
#include "utils/relcache.h"

#include "log/log.h"

/* A column that the expressions read. */
typedef struct AttachColumn
{
	AttrNumber attnum;
	Oid type;
} AttachColumn;

/* Some columns, and the expressions that read them. */
typedef struct AttachColumns
{
	int count;
	AttachColumn *columns;
} AttachColumns;

/*
 * It belongs to the PmLog.  An attribute of its events is a column, whose number is in
 * PmLog.attnum, or an expression, or neither.
 */
struct AttachedLog
{
	uint64 number; /* of this build, in this backend */
	bool narrow;   /* the positions are of type integer */
	bool computed; /* there are expressions, apart from the filter */
	bool woken;	   /* the table has the trigger that wakes readers */
	Oid collation; /* of the types of events */
	Node *filter;
	Node *exprs[EVENT_ATTRIBUTES + 1];
	AttachColumns by_filter;
	AttachColumns by_exprs;
	AttachColumns plain; /* the columns that are attributes */
};

/* Raises an error if a column has changed since the log was built, or if it has a problem. */
extern void attached_require_types(PmLog *log, Relation rel);

#endif /* PM_ATTACHED_H */
