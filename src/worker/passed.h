/*
 * passed.h
 *		Writes which units have passed what may have been in hand at a promotion.
 */
#ifndef PM_PASSED_H
#define PM_PASSED_H

#include "worker/unit.h"

/* Writes some of those that are not written yet.  Returns whether there are more. */
extern bool passed_write(Units *units);

#endif /* PM_PASSED_H */
