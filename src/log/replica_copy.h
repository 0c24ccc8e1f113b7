/*
 * replica_copy.h
 *		Writes the rows of a COPY into a replica log in the order of the publisher's positions.
 */
#ifndef PM_REPLICA_COPY_H
#define PM_REPLICA_COPY_H

#include "access/htup.h"
#include "utils/relcache.h"

/* A statement that inserts begins; the column has the publisher's positions. */
extern void replica_copy_begin(Relation rel, AttrNumber position);
/* Keeps a row until the end of the statement; false if the row is to be written now. */
extern bool replica_copy_take(Relation rel, HeapTuple tuple);
/* Writes the rows that were kept. */
extern void replica_copy_end(Relation rel);

#endif /* PM_REPLICA_COPY_H */
