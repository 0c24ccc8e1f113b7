/*
 * kept.h
 *		Counts and deletes what a process manager keeps for its keys.
 */
#ifndef PM_KEPT_H
#define PM_KEPT_H

typedef struct Kept
{
	int64 instances;
	int64 timers;
	int64 parked;
} Kept;

/* Counts it. */
extern Kept kept_count(const char *manager);
extern bool kept_any(const Kept *kept);

/* Deletes it.  The caller holds the locks of all units. */
extern void kept_delete(const char *manager);

#endif /* PM_KEPT_H */
