/*
 * erasure.h
 *		What pm.erase has left to do after its transaction.
 */
#ifndef PM_ERASURE_H
#define PM_ERASURE_H

#include "nodes/pg_list.h"

/* Events of a log whose data was replaced. */
typedef struct Erasure
{
	int64 id; /* of its row, 0: it has none */
	Datum positions;
	Datum replacement;
	List *done;	   /* ids of the process managers in which it is done */
	List *waiting; /* names of those whose units were locked by others */
} Erasure;

/* Is there anything left to do, perhaps? */
extern bool erasure_any(void);

/* The logs with something left to do in this database. */
extern List *erasure_logs(void);

/*
 * The oldest erasures of a log, with one replacement, in the order in which they were made.
 * The transaction locks their rows, and leaves out those that others have locked.  Sets *all
 * to whether these are all.
 */
extern List *erasure_claim(const char *log, bool *all);

/* Adds one that has no row, and is done in these process managers. */
extern List *erasure_add(List *erasures, Datum positions, Datum replacement, List *done);

/* Writes the row of an erasure, or deletes it because nothing is left to do. */
extern void erasure_keep(const char *log, const Erasure *erasure);
extern void erasure_complete(const char *log, const Erasure *erasure);

/* In a copy: the erasures of a log, or NULL: of all logs, are to be completed here. */
extern void erasure_adopt(const char *log);

/* Raises an error if there is something left to do for a log of this name. */
extern void erasure_refuse_log(const char *name);

#endif /* PM_ERASURE_H */
