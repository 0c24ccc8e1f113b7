/*
 * replica_check.h
 *		What the table of a replica log must have besides the guard.
 */
#ifndef PM_REPLICA_CHECK_H
#define PM_REPLICA_CHECK_H

#include "utils/relcache.h"

/* The publisher's position of an event. */
#define REPLICA_ORIGIN		  "origin_position"

#define REPLICA_BEGIN_TRIGGER "pm_arrival_begin"
#define REPLICA_ROW_TRIGGER	  "pm_arrival"
#define REPLICA_END_TRIGGER	  "pm_arrival_end"

typedef struct ReplicaTrigger
{
	const char *name;
	const char *when; /* as in CREATE TRIGGER */
	const char *function;
	int16 type; /* pg_trigger.tgtype */
} ReplicaTrigger;

#define REPLICA_TRIGGERS 3
extern const ReplicaTrigger replica_triggers[REPLICA_TRIGGERS];

/* The number of a column of this name and type; InvalidAttrNumber if there is none. */
extern AttrNumber replica_column(Relation rel, const char *name, Oid type);
/* The same for the publisher's position. */
extern AttrNumber replica_origin_column(Relation rel);
/* The unique index on that column; InvalidOid if there is none. */
extern Oid replica_origin_index(Relation rel);
/* Is it one of these triggers? */
extern bool replica_is_trigger(const char *name);
/* Does the table have this trigger, for each row or statement, in every session? */
extern bool replica_has_trigger(Relation rel, const ReplicaTrigger *wanted);
/* The name of a trigger that is missing, or not as it must be; NULL if there is none. */
extern const char *replica_missing_trigger(Relation rel);
/*
 * What the table of a replica log lacks besides the guard and its columns: an index or a trigger;
 * NULL if it lacks nothing.
 */
extern const char *replica_missing(Relation rel);
/* Raises an error if a trigger is missing. */
extern void replica_require_triggers(Relation rel);

#endif /* PM_REPLICA_CHECK_H */
