/*
 * pinned.h
 *		Plans of the fixed statements: the same whatever statistics and settings say.
 */
#ifndef PM_PINNED_H
#define PM_PINNED_H

#include "executor/spi.h"

typedef struct PinnedPlan
{
	SPIPlanPtr plan;
	int generation; /* of what the plan cache keeps for it */
} PinnedPlan;

extern void pinned_install(void);
extern PinnedPlan *pinned_make(SPIPlanPtr plan);
extern bool pinned_holds(const PinnedPlan *pinned);
extern void pinned_free(PinnedPlan *pinned);

#endif /* PM_PINNED_H */
