/*
 * launcher.h
 *		The three processes' entry points.
 */
#ifndef PM_LAUNCHER_H
#define PM_LAUNCHER_H

extern void launcher_register(void);
extern PGDLLEXPORT void pm_launcher_main(Datum arg);
extern PGDLLEXPORT void pm_scheduler_main(Datum arg);
extern PGDLLEXPORT void pm_dispatcher_main(Datum arg);

#endif /* PM_LAUNCHER_H */
