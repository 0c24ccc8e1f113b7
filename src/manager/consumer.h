/*
 * consumer.h
 *		Consumers: programs outside the database that do the work of a process manager.
 */
#ifndef PM_CONSUMER_H
#define PM_CONSUMER_H

#include "fmgr.h"

#include "manager/lease.h"

/* The longest name of a consumer, in bytes. */
#define CONSUMER_MAX_NAME 200

/* A call of a consumer's function, all of which begin with the arguments name and consumer. */
typedef struct ConsumerCall
{
	const char *function; /* for messages */
	char *name;			  /* of the process manager */
	char *consumer;
	ProcessManager *pm;
} ConsumerCall;

/* Checks the call, and that the current user may be a consumer. */
extern void consumer_begin(ConsumerCall *call, FunctionCallInfo fcinfo, const char *function,
						   int name, int consumer);

/* Refuses the current user if it may not be a consumer, and a process manager that has none. */
extern void consumer_require(const ProcessManager *pm);

/* Loads the process manager again if it has changed since.  Returns whether it has. */
extern bool consumer_reload(ConsumerCall *call);

/* May the role be a consumer of the process manager? */
extern bool consumer_may(const ProcessManager *pm, Oid role);

/*
 * Locks a lane that the consumer holds until the end of the transaction, so that no
 * other consumer gets it before then.  An error if the consumer does not hold it.
 */
extern void consumer_lock(ConsumerCall *call, int lane, Lease *lease);

#endif /* PM_CONSUMER_H */
