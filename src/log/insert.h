/*
 * insert.h
 *		Writes an event into a plain log without planning an INSERT.
 */
#ifndef PM_INSERT_H
#define PM_INSERT_H

#include "nodes/execnodes.h"

#include "log/log.h"
#include "log/partition.h"

/* What insert_event() returns if a partition can only be written by an INSERT. */
#define INSERT_NOT_PLAIN (-1)

/* An event to be written; its metadata is complete. */
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
	Relation root;			 /* the log's table */
	const PartitionSet *set; /* its partitions, if it is partitioned */
	Relation rel;			 /* the table that is written: the log's, or a leaf; NULL: none yet */
	AttrNumber attnum[EVENT_ATTRIBUTES + 1]; /* of its columns */
	EState *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;
	TransactionId last; /* wrote the stream's last event that was found */
} Insert;

/* Begins to write the log.  False if it must be written by an INSERT. */
extern bool insert_begin(Insert *insert, PmLog *log);
/*
 * The stream's current version, 0 if it has none; *any is whether it has events.  Not for a
 * partitioned log.
 */
extern int64 insert_version(Insert *insert, Datum stream, bool *any);
/*
 * Writes an event and returns its position; 0 if another transaction has taken the version;
 * INSERT_NOT_PLAIN if nothing was written.
 */
extern int64 insert_event(Insert *insert, Datum stream, InsertEvent *event, int64 version);
/* Opens the partition that takes a position.  False if only an INSERT can write it. */
extern bool insert_into_leaf(Insert *insert, int64 position);
extern void insert_end(Insert *insert);

#endif /* PM_INSERT_H */
