/*
 * launcher.h
 *		The three processes' entry points.
 */
#ifndef PM_LAUNCHER_H
#define PM_LAUNCHER_H

extern void launcher_register(void);
extern PGDLLEXPORT void launcher_main(Datum arg);
extern PGDLLEXPORT void scheduler_main(Datum arg);
extern PGDLLEXPORT void dispatcher_main(Datum arg);

#endif /* PM_LAUNCHER_H */
