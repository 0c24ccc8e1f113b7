/*
 * scheduler.h
 *		The process that starts the dispatchers of a database.
 */
#ifndef PM_SCHEDULER_H
#define PM_SCHEDULER_H

extern PGDLLEXPORT void pm_scheduler_main(Datum arg);

#endif /* PM_SCHEDULER_H */
