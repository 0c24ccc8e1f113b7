/*
 * register_consumer.h
 *		The roles that pm.register names as consumers.
 */
#ifndef PM_REGISTER_CONSUMER_H
#define PM_REGISTER_CONSUMER_H

#include "nodes/pg_list.h"

/* The roles of these names as an oid[], and the names as a name[]; 0 if there are none. */
extern Datum register_consumer_oids(List *names);
extern Datum register_consumer_names(List *names);

/* Called for a process manager that has a handler: an error if it has consumers, too. */
extern void register_consumer_refuse(List *consumers);

#endif /* PM_REGISTER_CONSUMER_H */
