/*
 * replica_origin.h
 *		The publisher's positions of events that pm.trim has removed from a replica log.
 */
#ifndef PM_REPLICA_ORIGIN_H
#define PM_REPLICA_ORIGIN_H

/* Positions that are being collected. */
typedef struct ReplicaOrigins
{
	int64 *positions;
	int count;
} ReplicaOrigins;

/* Was the event with this position at the publisher trimmed? */
extern bool replica_origin_trimmed(Oid relid, int64 origin);
/* Collects a position; keeps those collected when there are many. */
extern void replica_origin_note(ReplicaOrigins *origins, Oid relid, int64 origin);
/* Keeps the positions that were collected. */
extern void replica_origin_keep(ReplicaOrigins *origins, Oid relid);
/* Forgets all that is kept for a log. */
extern void replica_origin_forget(const char *log);

#endif /* PM_REPLICA_ORIGIN_H */
