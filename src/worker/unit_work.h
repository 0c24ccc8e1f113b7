/*
 * unit_work.h
 *		Finds out which of a dispatcher's units have something to do.
 */
#ifndef PM_UNIT_WORK_H
#define PM_UNIT_WORK_H

#include "worker/unit.h"

/* Called after watch_look(), when the units have been loaded. */
extern void unit_work_sort_out(Units *units);

#endif /* PM_UNIT_WORK_H */
