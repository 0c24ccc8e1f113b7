/*
 * handling.h
 *		The event or timer that a worker calls a handler for.
 *
 * A copy is in shared memory and in the file of crash marks, so that other
 * processes know after the end of the worker which event the handler was called
 * for.
 */
#ifndef PM_HANDLING_H
#define PM_HANDLING_H

/*
 * Room for the name of a log.  The longest is two quoted identifiers of 63 bytes
 * that consist of quotes, each of which is doubled.
 */
#define HANDLING_LOG_NAME 264

/* Room for a key: as it is stored, it has at most 1000 bytes. */
#define HANDLING_KEY 1001

typedef enum HandlingSource
{
	HANDLING_EVENT, /* an event of a log */
	HANDLING_TIMER,
	HANDLING_PARKED /* an event or a timer that is tried again */
} HandlingSource;

typedef struct Handling
{
	int manager; /* the id of the process manager, 0: nothing is being handled */
	int lane;
	int lanes; /* the number of lanes that the process manager has */
	HandlingSource source;
	bool several;	  /* several events in one call: it is not known which one fails */
	bool correlating; /* correlate is being asked for the event's key */
	bool outside;	  /* no function of a user runs: the event is read, or set aside */
	int64 position;
	int64 id;					 /* the id of the row of a timer or of a parked event */
	char log[HANDLING_LOG_NAME]; /* empty for a timer */
	char key[HANDLING_KEY];		 /* one of several keys of the event; empty if it has only one */
} Handling;

/*
 * Copies *from to *to.  The name of the log and the key are the longest parts.  The
 * former rarely changes, and the latter is most often empty, so they are copied only
 * when they differ.
 */
static inline void
handling_copy(Handling *to, const Handling *from)
{
	memcpy(to, from, offsetof(Handling, log));
	if (strcmp(to->log, from->log) != 0)
		strlcpy(to->log, from->log, HANDLING_LOG_NAME);
	if (strcmp(to->key, from->key) != 0)
		strlcpy(to->key, from->key, HANDLING_KEY);
}

#endif /* PM_HANDLING_H */
