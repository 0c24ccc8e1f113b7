/*
 * kept_event.h
 *		Copies of parked events, which are made before their logs lose them.
 */
#ifndef PM_KEPT_EVENT_H
#define PM_KEPT_EVENT_H

#include "base/event.h"

/* Does the extension have the table?  Version 0.1.0 does not. */
extern bool kept_event_exists(void);
/* Reads the copy of an event into the current memory context; false if there is none. */
extern bool kept_event_find(const char *log, int64 position, EventFields *event);
/* Keeps a copy of an event. */
extern void kept_event_add(const EventFields *event);
/* Replaces the data of a stream's events.  Returns their positions, of int8. */
extern Datum kept_event_erase(const char *log, Datum stream, Datum replacement, int *count);
/* Removes the events of a log, all of them, or those that are not parked any more. */
extern void kept_event_forget(const char *log);
extern void kept_event_tidy(const char *log);

#endif /* PM_KEPT_EVENT_H */
