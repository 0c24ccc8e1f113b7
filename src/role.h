/*
 * role.h
 *		The roles that own process managers of a database.
 */
#ifndef PM_ROLE_H
#define PM_ROLE_H

#include "registry.h"
#include "utils/hsearch.h"

#define ROLE_BACKOFF	1000	/* before a role's dispatcher starts again, ms */

/* A role that owns process managers here. */
typedef struct Role
{
	Oid			role;			/* hash key */
	bool		wanted;			/* something of it is to run */
	int			lanes;			/* the most that one of its process managers has */
	bool		has_work;
	TimestampTz waiting_since;	/* has work and no dispatcher, 0: not so */
	TimestampTz said_starving;	/* in the log, at that time */
	TimestampTz not_before;
	long		backoff;
} Role;

extern HTAB *Roles;				/* of Role, by its OID */
extern List *Managers;			/* all process managers of the database */

extern void role_begin(void);
extern void role_load(void);
extern int	role_serving(Role *role, List *crew);
extern void role_find_work(List *crew, TimestampTz *due);

#endif							/* PM_ROLE_H */
