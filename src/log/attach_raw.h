/*
 * attach_raw.h
 *		Parses the text of an expression of an attached log, and checks its names.
 */
#ifndef PM_ATTACH_RAW_H
#define PM_ATTACH_RAW_H

#include "nodes/nodes.h"
#include "utils/relcache.h"

/*
 * The raw parse tree of an expression.  It contains only constructs, and names of functions
 * and types, that are allowed, and columns of the table.  An error otherwise.
 */
extern Node *attach_raw(Relation rel, const char *text);
/* The number of the column of this name; an error if it cannot be used. */
extern AttrNumber attach_raw_column(Relation rel, const char *name);
/* The name of the column, if the expression is nothing else; NULL otherwise. */
extern char *attach_raw_name(Node *raw);

#endif /* PM_ATTACH_RAW_H */
