/*
 * launcher.h
 *		The process that starts a scheduler in each database that has the extension.
 */
#ifndef PM_LAUNCHER_H
#define PM_LAUNCHER_H

/* Makes the postmaster start the launcher.  Called while the library is preloaded. */
extern void launcher_register(void);

extern PGDLLEXPORT void pm_launcher_main(Datum arg);

#endif /* PM_LAUNCHER_H */
