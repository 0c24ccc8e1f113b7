/*
 * replica_ddl.h
 *		The triggers and the index of a replica log's table.
 */
#ifndef PM_REPLICA_DDL_H
#define PM_REPLICA_DDL_H

#include "utils/relcache.h"

#include "log/log.h"

/*
 * Creates what is missing, as far as that is possible, with the rights of the caller.
 * Needs an open scope.
 */
extern void replica_put_back(Oid relid);
/* Removes the triggers; needs an open scope. */
extern void replica_take_off(Oid relid);
/* Raises an error if it is a replica log. */
extern void replica_refuse_append(PmLog *log);

#endif /* PM_REPLICA_DDL_H */
