/*
 * identifier.h
 *		Names of tables and functions as SQL reads them.
 */
#ifndef PM_IDENTIFIER_H
#define PM_IDENTIFIER_H

#include "nodes/pg_list.h"

/* The parts of a name that may be qualified, as C strings; NIL if it is not a name. */
extern List *identifier_split(const char *name);

/* The same as String nodes, as the parser makes them. */
extern List *identifier_values(const char *name);

/*
 * The name of a table, sequence or index as SQL reads it: qualified, and quoted where
 * it must be; NULL if there is no such relation.
 */
extern char *identifier_of_relation(Oid relid);

/*
 * Where the arguments in the signature of a function begin: at the first parenthesis
 * outside of quotes; NULL if there is none.
 */
extern const char *identifier_arguments(const char *signature);

#endif /* PM_IDENTIFIER_H */
