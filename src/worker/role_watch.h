/*
 * role_watch.h
 *		What can give work to a role that has no dispatcher.
 */
#ifndef PM_ROLE_WATCH_H
#define PM_ROLE_WATCH_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "shmem/slot_ref.h"

/* A log that one of its process managers follows. */
typedef struct RoleLog
{
	Oid relid;
	LogRef slot;
	uint64 wakes; /* of the slot or group, before the log was read */
} RoleLog;

/* All zero: nothing is watched, and nothing known. */
typedef struct RoleWatch
{
	bool known;		   /* the role was looked at, and what follows is of that look */
	TimestampTz began; /* when that was, */
	TimestampTz until; /* and when to look again even if nothing happens */
	uint64 sent;	   /* how often something was sent to its instances */
	RoleLog *logs;
	int count;
	int room;
	MemoryContext context; /* of the logs: that of the process managers */
} RoleWatch;

/* Begin a look, add a log that is about to be read, and end the look. */
extern void role_watch_begin(RoleWatch *watch, List *managers, MemoryContext context);
extern void role_watch_log(RoleWatch *watch, Oid relid);
extern void role_watch_until(RoleWatch *watch, TimestampTz until);

/* Would another look find the same? */
extern bool role_watch_quiet(const RoleWatch *watch, List *managers);

/* Stop watching: one role, or all. */
extern void role_watch_drop(RoleWatch *watch);
extern void role_watch_end(void);

#endif /* PM_ROLE_WATCH_H */
