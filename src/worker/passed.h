/*
 * passed.h
 *		Records which units have passed what may have been in hand at a promotion.
 */
#ifndef PM_PASSED_H
#define PM_PASSED_H

#include "worker/unit.h"

/* Records some of those that are not recorded yet.  Returns whether there are more. */
extern bool passed_write(Units *units);

#endif /* PM_PASSED_H */
