/*
 * identifier.h
 *		Names as SQL reads them, never cut.
 */
#ifndef PM_IDENTIFIER_H
#define PM_IDENTIFIER_H

#include "nodes/pg_list.h"

extern List *identifier_split(const char *name);
extern List *identifier_values(const char *name);
extern char *identifier_of_relation(Oid relid);
extern const char *identifier_arguments(const char *signature);

#endif /* PM_IDENTIFIER_H */
