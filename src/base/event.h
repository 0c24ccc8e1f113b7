/*
 * event.h
 *		Builds values of the composite type pm.event, and takes them apart.
 */
#ifndef PM_EVENT_H
#define PM_EVENT_H

/* The attributes, which count from 1. */
enum
{
	EVENT_LOG = 1,
	EVENT_POSITION,
	EVENT_STREAM,
	EVENT_VERSION,
	EVENT_TYPE,
	EVENT_DATA,
	EVENT_METADATA,
	EVENT_RECORDED_AT
};
#define EVENT_ATTRIBUTES EVENT_RECORDED_AT

/* The values of an event, which count from 0 as in heap_form_tuple(). */
typedef struct EventFields
{
	Datum values[EVENT_ATTRIBUTES];
	bool nulls[EVENT_ATTRIBUTES];
} EventFields;

/* The OID of pm.event. */
extern Oid event_type(void);

/* Takes an event apart; the values point into it. */
extern void event_deform(Datum event, EventFields *fields);

/* Makes an event in the current memory context. */
extern Datum event_form(EventFields *fields);

/*
 * Was the event sent to an instance (sent.c)?  Like a timer it is in no log, but it has a
 * version, 0, which no timer has.
 */
extern bool event_is_sent(Datum event);

/*
 * The metadata that names an event as the cause of another one, as jsonb:
 * {"causation": {"log": ..., "position": ...}}.  pm.trace finds the effects of an event
 * by this metadata.  With "correlates", it has the same value as "correlation" too.
 */
extern Datum event_causation(const char *log, int64 position, bool correlates);

/* The size of an event that is too large for one value; 0 if it is not. */
extern int64 event_excess(const EventFields *fields);

/* Makes an event without the large columns, to be shown in place of one that is too large. */
extern Datum event_form_stub(EventFields *fields);

#endif /* PM_EVENT_H */
