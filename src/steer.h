/*
 * steer.h
 *		What a process manager keeps besides its cursors.
 */
#ifndef PM_STEER_H
#define PM_STEER_H

typedef struct SteerKept
{
	int64		instances;
	int64		timers;
	int64		parked;
} SteerKept;

extern SteerKept steer_kept(const char *manager);

#endif							/* PM_STEER_H */
