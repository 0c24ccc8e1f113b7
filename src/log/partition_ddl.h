/*
 * partition_ddl.h
 *		Commands on the partitions of logs.
 */
#ifndef PM_PARTITION_DDL_H
#define PM_PARTITION_DDL_H

#include "nodes/pg_list.h"

/* Installs the hook that sees tables that are dropped or truncated. */
extern void partition_ddl_install(void);
/*
 * To be called before and after each utility command.  The first one returns the partitions that
 * the command is about to remove from logs; the second one gets them, and a copy of the command,
 * which can be NULL unless partition_ddl_concerns() it.
 */
extern List *partition_ddl_before(Node *statement);
extern void partition_ddl_after(Node *statement, List *leaves);
/* Does the command attach or detach a partition? */
extern bool partition_ddl_concerns(Node *statement);

#endif /* PM_PARTITION_DDL_H */
