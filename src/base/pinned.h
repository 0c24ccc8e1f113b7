/*
 * pinned.h
 *		Makes plans for the fixed statements that depend on neither statistics nor settings.
 */
#ifndef PM_PINNED_H
#define PM_PINNED_H

#include "executor/spi.h"

typedef struct PinnedPlan
{
	SPIPlanPtr plan;
	int generation; /* of the plan in the plan cache when it was pinned */
} PinnedPlan;

extern void pinned_install(void);

/*
 * Plans a statement that was prepared for a generic plan and is kept.  Needs an SPI
 * connection and an active snapshot.
 */
extern PinnedPlan *pinned_make(SPIPlanPtr plan);

/* Does the plan cache still have this plan? */
extern bool pinned_holds(const PinnedPlan *pinned);

extern void pinned_free(PinnedPlan *pinned);

#endif /* PM_PINNED_H */
