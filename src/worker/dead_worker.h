/*
 * bury.h
 *		Dispatchers that died in the midst of a handler.
 */
#ifndef PM_BURY_H
#define PM_BURY_H

#include "nodes/pg_list.h"

extern bool bury_lost(List *managers);
extern bool bury_crashed(List *managers);
extern void bury_forget(void);

#endif							/* PM_BURY_H */
