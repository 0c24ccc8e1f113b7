/*
 * park_queue.h
 *		The queues of parked events, one for each key: reading them, taking
 *		events out of them, trying them again.
 */
#ifndef PM_PARK_QUEUE_H
#define PM_PARK_QUEUE_H

#include "base/key.h"
#include "manager/registry.h"

/* One parked event or timer. */
typedef struct Parked
{
	int64 id;
	char *key;
	char *log; /* NULL: a timer */
	int64 position;
	int attempts;
	TimestampTz retry_at; /* of a head; park_read() does not fill this */
	bool deferred;		  /* park_read() does not fill this either, */
	bool failed;		  /* nor this: its handler has failed before */
	/* For a timer, park_read() fills these; for an event of a log, park_event.c does. */
	Datum event;	 /* a pm.event; 0 if it is gone from its log */
	int64 too_large; /* 0, or the event's size: a stub stands for it */
} Parked;

/* What an UPDATE sets so that an event is tried again at once, with a new count of attempts. */
#define PARK_SET_AFRESH                                                                            \
	"state = 'failing', attempts = 0, crashes = least(crashes, 1), "                               \
	"retry_at = '-infinity', trouble_since = NULL "

/*
 * What an UPDATE sets so that the next event of a key, which has not been tried, is
 * tried at once.
 */
#define PARK_SET_NEXT "state = 'failing', retry_at = '-infinity' "

/* Finds out at once which of some keys have a queue. */
extern void park_prefetch(ProcessManager *pm, int lane, List *keys);
extern bool park_has(ProcessManager *pm, int lane, Key *key);

/* Positions (int64 *) of the parked events of a unit and a log, after a given position. */
extern List *park_positions(ProcessManager *pm, int lane, const char *log, int64 after);

/* Is this event parked for this key? */
extern bool park_has_event(ProcessManager *pm, const char *log, int64 position, const char *key);

/* Is an earlier event of the log parked for this key? */
extern bool park_precedes(ProcessManager *pm, const char *key, const char *log, int64 position);

/* Says that an event has become the head of its key, or is due at another time. */
extern void park_head_changed(ProcessManager *pm, int lane, int64 id, TimestampTz retry_at);

/*
 * The head that is to be tried again next, of those that were parked since a time (0: all);
 * NULL if none is due.
 */
extern Parked *park_due(ProcessManager *pm, int lane, TimestampTz since, TimestampTz now);
/* The first of these that are due, in the order in which they are to be tried. */
extern List *park_due_list(ProcessManager *pm, int lane, TimestampTz since, TimestampTz now,
						   int limit);
/* The parked event or timer in this row, without its event; NULL if it is gone. */
extern Parked *park_get(ProcessManager *pm, int64 id);
/* Did a server crash when this one was tried last? */
extern bool park_crashed(ProcessManager *pm, int64 id);
/* The first events of a key, from its head on, without what is in their logs. */
extern List *park_read(ProcessManager *pm, int lane, const char *key, int64 first, int limit);
/* Takes an event out of its queue in order to handle it.  False if it is gone. */
extern bool park_take(int64 id);
/* Makes the next event of a key the head, after those up to "gone" have left the queue. */
extern void park_promote(ProcessManager *pm, int lane, const char *key, int64 gone);
/* Makes failing events, and some dead ones, due at once.  Returns how many. */
extern int park_retry_all(ProcessManager *pm, int lane, int revive);

#endif /* PM_PARK_QUEUE_H */
