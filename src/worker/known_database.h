/*
 * known_database.h
 *		Keeps a list of the databases of the cluster, and decides which of them needs a scheduler.
 */
#ifndef PM_KNOWN_DATABASE_H
#define PM_KNOWN_DATABASE_H

#include "datatype/timestamp.h"
#include "utils/hsearch.h"

/*
 * The shortest time between two starts in the same database, ms; doubles up to
 * the maximum when schedulers die soon after their start.
 */
#define KNOWN_DATABASE_BACKOFF	   1000
#define KNOWN_DATABASE_BACKOFF_MAX 30000

/* How often a database without a scheduler gets one anyway, ms. */
#define KNOWN_DATABASE_SCAN 60000

/* What the launcher remembers of a database. */
typedef struct KnownDatabase
{
	Oid database;			/* hash key */
	bool there;				/* the last scan has found it */
	bool looked;			/* a scheduler has been started in it since the launcher started */
	TimestampTz not_before; /* when the next scheduler may be started */
	long backoff;
	uint32 announced;		  /* the number of announcements that schedulers have seen */
	TimestampTz urgent_since; /* since when there is something to do, 0: nothing that we know of */
	TimestampTz sent_at;	  /* when the last scheduler was started */
} KnownDatabase;

typedef struct KnownDatabases
{
	HTAB *table; /* of KnownDatabase */
} KnownDatabases;

extern void known_database_begin(KnownDatabases *known);

/* Reads which databases there are, and forgets those that are gone. */
extern void known_database_scan(KnownDatabases *known);

/* Does any database need a scheduler at once? */
extern bool known_database_any_wants(KnownDatabases *known);

/*
 * The database that gets a scheduler next, or NULL.  *announced is the number of
 * announcements that the scheduler will see.  *due is moved to the time to check
 * again.
 */
extern KnownDatabase *known_database_next(KnownDatabases *known, uint32 *announced,
										  TimestampTz *due);

/* Called when a scheduler was started, or has ended. */
extern void known_database_sent(KnownDatabase *db, uint32 announced);
extern void known_database_ended(KnownDatabases *known, Oid database, TimestampTz started_at,
								 bool left);

#endif /* PM_KNOWN_DATABASE_H */
