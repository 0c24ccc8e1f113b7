/*
 * watch.h
 *		Finds out which of the logs that a dispatcher follows have moved.
 */
#ifndef PM_WATCH_H
#define PM_WATCH_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"

/* One unit that follows one log. */
typedef struct Follow
{
	bool moved;		   /* the log has moved since a batch of the unit looked at it */
	bool *unit_dirty;  /* the unit's flag that it may have something to do, */
	bool *unit_first;  /* and its flag that this is known only because it was just loaded */
	const int64 *last; /* the last position that was drawn; PG_INT64_MAX: not known */
} Follow;

/* The logs that this dispatcher follows. */
typedef struct Watches
{
	List *all;			   /* of Watch */
	HTAB *by_name;		   /* the same by the log's name, between begin and end; else NULL */
	bool incomplete;	   /* some log is not watched yet, since its table was locked */
	TimestampTz looked_at; /* when all logs were last read */
	TimestampTz asked_at;  /* when a slot was last looked for, for logs without one */
} Watches;

/* Replaces the watches; the new ones are in the current memory context. */
extern void watch_begin(Watches *watches);
extern void watch_add(Watches *watches, char *log, Follow *follow);
extern void watch_end(Watches *watches);

/* Sets the flags of the units that follow a log that has moved. */
extern void watch_look(Watches *watches);

#endif /* PM_WATCH_H */
