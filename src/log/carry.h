/*
 * carry.h
 *		What belongs to the table of a log, so that another table can take its place.
 */
#ifndef PM_CARRY_H
#define PM_CARRY_H

#include "log/log.h"

/* The name of the check that pm.partition_log wants, and removes. */
#define CARRY_UP_TO "pm_up_to"

/* Commands, as C strings. */
typedef struct Carry
{
	List *old;	 /* for the table, before it is renamed */
	List *new;	 /* for the one that gets its name */
	List *names; /* new names, so that each is given once */
} Carry;

/*
 * Collects these commands.  "partition" is the name that the table is about to get.  Runs with
 * the rights of the caller; needs an open scope, in which the commands must be run too, because
 * they name other objects as its search path does.
 */
extern void carry_collect(Carry *carry, PmLog *log, const char *partition);
extern void carry_run(List *commands);

#endif /* PM_CARRY_H */
