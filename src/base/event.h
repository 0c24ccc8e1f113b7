/*
 * event.h
 *		The composite type pm.event, made and taken apart.
 */
#ifndef PM_EVENT_H
#define PM_EVENT_H

/* Its attributes, counted from 1. */
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

/* Its values, counted from 0, as heap_form_tuple() has them. */
typedef struct EventFields
{
	Datum values[EVENT_ATTRIBUTES];
	bool nulls[EVENT_ATTRIBUTES];
} EventFields;

extern Oid event_type(void);
extern void event_deform(Datum event, EventFields *fields);
extern Datum event_form(EventFields *fields);
extern Datum event_causation(const char *log, int64 position);
extern int64 event_excess(const EventFields *fields);
extern Datum event_form_stub(EventFields *fields);

#endif /* PM_EVENT_H */
