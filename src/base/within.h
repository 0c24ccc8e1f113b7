/*
 * within.h
 *		Which handler runs in this backend, for which event, and at what time.
 */
#ifndef PM_WITHIN_H
#define PM_WITHIN_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* The key of the metadata in which an event that was sent has the role of the sender. */
#define SENT_BY "sent_by"

/*
 * Handlers of this process manager and lane are called until within_leave().  The name,
 * and the keys of metadata to carry, must live until then.
 */
extern void within_enter(const char *manager, int lane, const List *carry);
extern void within_leave(void);

/* Consumers can answer events that this process manager appends to these logs (reply.c). */
extern void within_ask(int manager, const List *logs);

/*
 * The handler is called for this event (log NULL: a timer), and for the instance of
 * this key (NULL: it keeps none).  Must not be called for several events in an
 * array, because it is not known which of them causes what the handler does.
 */
extern void within_event(const char *log, int64 position, Datum event, const char *key);

/* The handler itself is called now, for this key; NULL: the event's stream. */
extern void within_call(const char *key);

/* Is correlate called for the event, not the handler? */
extern bool within_correlates(void);

/* Does a handler run in this backend, and of which process manager? */
extern bool within_handler(void);
extern const char *within_manager(void);

/* Refuses a change to the process manager of this name by its own handler. */
extern void within_refuse(const char *name);

/* Is the handler of an instance running, and has that handler called the caller? */
extern bool within_has_instance(void);

/* The key and lane of that instance, or an error that names the function. */
extern const char *within_instance(const char *function, int *lane);

/*
 * Is the handler of an instance running, and can consumers answer events that it appends to
 * the log?  If so, sets *manager and *key to those of the instance.
 */
extern bool within_asks(const char *log, int *manager, const char **key);

/* Does a handler run for a timer?  *due becomes the time for which it was set. */
extern bool within_timer(TimestampTz *due);

/* Does a handler run for a timer of this type? */
extern bool within_is_timer(text *type);

/*
 * The metadata of an event that is appended or of a timer that is set.  In a handler
 * it names the cause and the correlation, and inherits the keys that the process
 * manager carries; otherwise it stays as it is.
 */
extern Datum within_cause(Datum metadata);

/* The part of an event's metadata that an answer inherits: correlation and carried keys. */
extern Datum within_carried(Datum metadata);

/* Sets the time that timers and retries use: the clock's, or that of pm.catch_up(as_of). */
extern void within_set_time(TimestampTz as_of);
extern void within_clear_time(void);
extern TimestampTz within_time(void);

/*
 * Has pm.catch_up set a time?  If so, *time is set to it; everything is recorded at
 * that time.
 */
extern bool within_time_set(TimestampTz *time);

/* The last time that will be set; the clock's, if none is set. */
extern void within_set_end(TimestampTz end);
extern TimestampTz within_end(void);

/* That time plus this many milliseconds, but at most the latest time that is allowed. */
extern TimestampTz within_later(int64 ms);

#endif /* PM_WITHIN_H */
