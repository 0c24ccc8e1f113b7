/*
 * dispatcher.h
 *		The process that runs the units of a role.
 */
#ifndef PM_DISPATCHER_H
#define PM_DISPATCHER_H

extern PGDLLEXPORT void pm_dispatcher_main(Datum arg);

#endif /* PM_DISPATCHER_H */
