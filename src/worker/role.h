/*
 * role.h
 *		The roles that own process managers of a database.
 */
#ifndef PM_ROLE_H
#define PM_ROLE_H

#include "utils/hsearch.h"

#include "manager/registry.h"

/* A scheduler that leaves is back at the latest, to look at a mark that is held back, and at
 * other things, ms. */
#define ROLE_AWAY_HELD 3000
#define ROLE_AWAY	   10000

#define ROLE_BACKOFF   1000 /* before a role's dispatcher starts again, ms */

/* A role that owns process managers here. */
typedef struct Role
{
	Oid role;	 /* hash key */
	bool wanted; /* something of it is to run */
	int lanes;	 /* the most that one of its process managers has */
	bool has_work;
	bool has_share;			   /* of the places: it gets no more of them in this round */
	TimestampTz waiting_since; /* has work and no dispatcher, 0: not so */
	TimestampTz said_starving; /* in the log, at that time */
	TimestampTz not_before;
	long backoff;
	TimestampTz yields_until; /* stays behind others who wait */
	int gave_way;			  /* so many times in a row */
} Role;

extern int Nroles; /* roles of which something is to run, */
extern Oid ARole;  /* one of them */
/* When to look again. */
typedef struct RoleDue
{
	TimestampTz at;
	bool leaving; /* it costs the start of another scheduler */
} RoleDue;

extern HTAB *Roles;	   /* of Role, by its OID */
extern List *Managers; /* all process managers of the database */

extern void role_begin(void);
extern void role_load(void);
extern int role_serving(Role *role, List *workers);
extern void role_find_work(List *workers, RoleDue *due);

#endif /* PM_ROLE_H */
