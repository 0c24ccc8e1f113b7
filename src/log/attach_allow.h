/*
 * attach_allow.h
 *		What the expressions of an attached log may contain.
 */
#ifndef PM_ATTACH_ALLOW_H
#define PM_ATTACH_ALLOW_H

#include "nodes/pg_list.h"

/* May a function be called by this name, in SQL?  The names of operators are not restricted. */
extern bool attach_allows_name(const char *function);
/* May a value be cast to the type of this name? */
extern bool attach_allows_type_name(const char *type);
/* May a column or a value have this type?  A domain counts as its base type. */
extern bool attach_allows_type(Oid type);
/* May a value of this type be converted by its output and another type's input function? */
extern bool attach_allows_io(Oid from, Oid to);
/*
 * Why this function, of a call or of an operator, may not be called with these arguments, as
 * a sentence; NULL if it may.
 */
extern const char *attach_refuses_call(Oid function, List *args);

#endif /* PM_ATTACH_ALLOW_H */
