/*
 * insert.h
 *		Writing an event into a plain log without planning an INSERT.
 */
#ifndef PM_INSERT_H
#define PM_INSERT_H

#include "nodes/execnodes.h"

#include "log/log.h"

/* An event to be written; the metadata are final. */
typedef struct InsertEvent
{
	Datum type;		/* text */
	Datum data;		/* jsonb */
	Datum metadata; /* jsonb */
} InsertEvent;

/* A log that is being written. */
typedef struct Insert
{
	PmLog *log;
	Relation rel;
	EState *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;
} Insert;

extern bool insert_begin(Insert *insert, PmLog *log);
extern int64 insert_version(Insert *insert, Datum stream, bool *any);
extern int64 insert_event(Insert *insert, Datum stream, InsertEvent *event, int64 version);
extern void insert_end(Insert *insert);

#endif /* PM_INSERT_H */
