/*
 * reply_to.h
 *		The rows that say to which instance an answer to an event goes.
 */
#ifndef PM_REPLY_TO_H
#define PM_REPLY_TO_H

#include "log/insert.h"
#include "log/log.h"

typedef struct ReplyTo
{
	int manager; /* the id of the process manager */
	char *key;
	char *type;		/* of the event */
	Datum metadata; /* jsonb: what an answer inherits */
} ReplyTo;

/* Notes that this instance has appended these events. */
extern void reply_to_add(const char *log, int manager, const char *key, const InsertEvent *events,
						 const Datum *positions, int count);

/* Finds the instance that has appended the event.  False if none is recorded. */
extern bool reply_to_find(const char *log, int64 position, ReplyTo *to);

/* Removes the rows of events, up to a position, that are no longer in the log. */
extern void reply_to_trim(PmLog *log, int64 up_to);

/* Removes the rows of the events from one position up to another. */
extern void reply_to_remove(const char *log, int64 from, int64 to);
/* Removes all rows of a log. */
extern void reply_to_forget(const char *log);

#endif /* PM_REPLY_TO_H */
