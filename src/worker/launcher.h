/*
 * launcher.h
 *		The process that starts a scheduler in each database that has pm.
 */
#ifndef PM_LAUNCHER_H
#define PM_LAUNCHER_H

/* Has the postmaster start it; while the library is preloaded. */
extern void launcher_register(void);

extern PGDLLEXPORT void pm_launcher_main(Datum arg);

#endif /* PM_LAUNCHER_H */
