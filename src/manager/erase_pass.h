/*
 * erase_pass.h
 *		Erases what the process managers that are free have kept of erased events of a log.
 */
#ifndef PM_ERASE_PASS_H
#define PM_ERASE_PASS_H

#include "utils/timestamp.h"

#include "log/erasure.h"

/* One pass over the process managers. */
typedef struct ErasePass
{
	const char *log;
	List *erasures;	   /* of Erasure, in the order in which they were made */
	TimestampTz until; /* until when units are waited for */
	List *locked;	   /* result: the process managers whose units are locked now, */
	List *missed;	   /* and names of those whose units others have locked */
	bool following;	   /* result: another one may just begin to follow the log */
} ErasePass;

/*
 * Locks units until the transaction ends, and erases.  Returns whether nothing is left to
 * do.  The data in the log must have been replaced, by this transaction or before.
 */
extern bool erase_pass(ErasePass *pass);

/* Writes what is left to do, or that nothing is left. */
extern void erase_pass_keep(const ErasePass *pass, bool complete);

/*
 * Continues the erasures of a log, in a transaction of its own.  First waits for the units
 * of one process manager, unless its name is NULL.  Returns whether nothing is left to do.
 * If nothing was free, sets *busy to the names of the process managers for which it is worth
 * waiting, because batches run.
 */
extern bool erase_later(const char *log, const char *await, List **busy);

#endif /* PM_ERASE_PASS_H */
