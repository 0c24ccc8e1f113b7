/*
 * control.h
 *		What a process manager keeps besides its cursors.
 */
#ifndef PM_CONTROL_H
#define PM_CONTROL_H

#include "manager/registry.h"

typedef struct ControlKept
{
	int64 instances;
	int64 timers;
	int64 parked;
} ControlKept;

extern void control_unregister(ProcessManager *pm);
extern int64 control_unfollow(ProcessManager *pm, const char *log);
extern ControlKept control_kept(const char *manager);

#endif /* PM_CONTROL_H */
