/*
 * replica_ddl.h
 *		The triggers and the index of a replica log's table.
 */
#ifndef PM_REPLICA_DDL_H
#define PM_REPLICA_DDL_H

#include "utils/relcache.h"

#include "log/log.h"

/*
 * What the table of a replica log lacks besides the guard and its columns: an index or a trigger;
 * NULL if it lacks nothing.
 */
extern const char *replica_missing(Relation rel);
/*
 * Creates what is missing, as far as that is possible, with the rights of the caller.
 * Needs an open scope.
 */
extern void replica_put_back(Oid relid);
/* Removes the triggers; needs an open scope. */
extern void replica_take_off(Oid relid);
/* Is it one of these triggers? */
extern bool replica_is_trigger(const char *name);
/* Raises an error if it is a replica log. */
extern void replica_refuse_append(PmLog *log);

#endif /* PM_REPLICA_DDL_H */
