/*
 * known_database.h
 *		The databases of the cluster, and which of them wants a scheduler.
 */
#ifndef PM_KNOWN_DATABASE_H
#define PM_KNOWN_DATABASE_H

#include "datatype/timestamp.h"
#include "utils/hsearch.h"

/*
 * How long after one start the next one follows in the same database, ms; doubles
 * up to the maximum when schedulers die young.
 */
#define KNOWN_DATABASE_BACKOFF	   1000
#define KNOWN_DATABASE_BACKOFF_MAX 30000

/* How often a database without a scheduler is looked at anyway, ms. */
#define KNOWN_DATABASE_SCAN 60000

/* What the launcher remembers of a database. */
typedef struct KnownDatabase
{
	Oid database;			/* hash key */
	bool there;				/* the last scan has found it */
	bool looked;			/* a scheduler has been sent since the launcher started */
	TimestampTz not_before; /* when the next scheduler may be sent */
	long backoff;
	uint32 announced;		  /* the number of announcements that were taken in */
	TimestampTz urgent_since; /* there is something to do since, 0: none that we know of */
	TimestampTz sent_at;	  /* when the last scheduler was sent */
} KnownDatabase;

typedef struct KnownDatabases
{
	HTAB *table; /* of KnownDatabase */
} KnownDatabases;

extern void known_database_begin(KnownDatabases *known);

/* Reads which databases there are, and forgets those that are gone. */
extern void known_database_scan(KnownDatabases *known);

/* Does any database want a scheduler at once? */
extern bool known_database_any_wants(KnownDatabases *known);

/*
 * The database that is to get a scheduler next, or NULL.  *announced is the number of
 * announcements that the scheduler will take in; *due is moved to when to look again.
 */
extern KnownDatabase *known_database_next(KnownDatabases *known, uint32 *announced,
										  TimestampTz *due);

/* A scheduler was sent, or has ended. */
extern void known_database_sent(KnownDatabase *db, uint32 announced);
extern void known_database_ended(KnownDatabases *known, Oid database, TimestampTz started_at,
								 bool left);

#endif /* PM_KNOWN_DATABASE_H */
