/*
 * steer.h
 *		What a process manager keeps besides its cursors.
 */
#ifndef PM_STEER_H
#define PM_STEER_H

#include "manager/registry.h"

typedef struct SteerKept
{
	int64		instances;
	int64		timers;
	int64		parked;
} SteerKept;

extern void steer_unregister(ProcessManager *pm);
extern int64 steer_unfollow(ProcessManager *pm, const char *log);
extern SteerKept steer_kept(const char *manager);

#endif							/* PM_STEER_H */
