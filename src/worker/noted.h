/*
 * noted.h
 *		Forgets, when a dispatcher ends, for which item it was about to call a handler.
 */
#ifndef PM_NOTED_H
#define PM_NOTED_H

#include "worker/unit.h"

/* Called once in a dispatcher, when it has connected. */
extern void noted_install(void);

/* The unit has committed a note, or (NULL) what was noted has been called. */
extern void noted_set(const Unit *unit);

#endif /* PM_NOTED_H */
