/*
 * purge.h
 *		Removes, in a dispatcher, what its process managers need not keep any longer.
 */
#ifndef PM_PURGE_H
#define PM_PURGE_H

#include "worker/unit.h"

/*
 * Removes some rows of each process manager for which it is time.  Returns whether
 * there is more to do at once.  If not, *due is moved to the time when there is.
 */
extern bool purge_round(Units *units, TimestampTz *due);

#endif /* PM_PURGE_H */
