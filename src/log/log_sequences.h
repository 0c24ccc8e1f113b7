/*
 * log_sequences.h
 *		Looks up the sequences of many logs at once.
 */
#ifndef PM_LOG_SEQUENCES_H
#define PM_LOG_SEQUENCES_H

#include "nodes/pg_list.h"

/* A log and its sequence, neither of which has been read. */
typedef struct LogSequence
{
	char *name;
	Oid relid;
	Oid seqid; /* InvalidOid: it has none */
	Oid tablespace;
	Oid file; /* InvalidOid: it is not permanent */
} LogSequence;

/*
 * Those of the named logs that exist, as a list of LogSequence.  Their sequences need not be
 * opened to be read.
 */
extern List *log_sequences(List *names);

#endif /* PM_LOG_SEQUENCES_H */
