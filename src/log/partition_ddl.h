/*
 * partition_ddl.h
 *		Commands on the partitions of logs.
 */
#ifndef PM_PARTITION_DDL_H
#define PM_PARTITION_DDL_H

#include "nodes/nodes.h"

/* Installs the hook that sees tables that are dropped or truncated. */
extern void partition_ddl_install(void);
/* To be called before and after each utility command. */
extern void partition_ddl_before(Node *statement);
extern void partition_ddl_after(Node *statement);

#endif /* PM_PARTITION_DDL_H */
