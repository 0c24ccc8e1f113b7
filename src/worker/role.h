/*
 * role.h
 *		Keeps the roles that own process managers of a database, and finds out which have work.
 */
#ifndef PM_ROLE_H
#define PM_ROLE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"

#include "worker/role_watch.h"

/*
 * A scheduler that has left is started again after this time at the latest, ms: to look at a
 * mark that is held back, and at other things for which nothing wakes it.
 */
#define ROLE_AWAY_HELD 3000
#define ROLE_AWAY	   10000

/* A role without a dispatcher is looked at this often if nothing happens, ms. */
#define ROLE_LOOK 60000

/* The first delay before a role's dispatcher that has died is started again, ms. */
#define ROLE_BACKOFF 1000

/* A role with more positions than this to handle in a log has much to do. */
#define ROLE_MUCH 1000

/* A role that owns process managers here. */
typedef struct Role
{
	Oid role;		 /* hash key */
	List *managers;	 /* its process managers that are to run */
	int lanes;		 /* the most that one of them has */
	RoleWatch watch; /* what can give work to it while it has no dispatcher */
	bool without;	 /* it has no dispatcher, and may get one */
	bool has_work;	 /* the same, and it has work */
	bool much;		 /* as far as is known, the work takes a long time */
	bool has_share;	 /* it has its share of the places, and gets no more of them in this round */
	TimestampTz waiting_since; /* since when has_work is true, 0: it is not */
	TimestampTz said_starving; /* when this was reported in the server's log */
	TimestampTz not_before;	   /* no dispatcher is started before this time, because one has died */
	long backoff;			   /* the length of the next such delay, ms */
	TimestampTz yields_until;  /* others that wait come first, because it has made room */
	int gave_way;			   /* how often in a row it was made to give way */
	bool unfinished;		   /* its last dispatcher has made room although it had more to do */
} Role;

/* All zero: role_begin() makes the table. */
typedef struct Roles
{
	HTAB *table;		   /* of Role, by its OID */
	int count;			   /* the number of roles that have process managers to run */
	Oid any;			   /* one of these roles */
	int copies;			   /* process managers that wait for pm.resume() in this copy */
	List *managers;		   /* all process managers of the database */
	MemoryContext context; /* of these lists */
	uint64 version;		   /* of the registrations, when they were loaded */
	uint64 generation;
	bool passed; /* the last dispatcher was started for a role with little to do */
} Roles;

/* When to look for work again. */
typedef struct RoleDue
{
	TimestampTz at;
	bool leaving; /* the scheduler leaves, so looking again costs the start of another one */
} RoleDue;

extern void role_begin(Roles *roles);
extern void role_load(Roles *roles);
extern int role_serving(Role *role, List *workers);
extern void role_find_work(Roles *roles, List *workers, RoleDue *due);

#endif /* PM_ROLE_H */
