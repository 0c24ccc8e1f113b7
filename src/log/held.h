/*
 * held.h
 *		What keeps events of a log from being deleted.
 */
#ifndef PM_HELD_H
#define PM_HELD_H

/* An event that is still needed. */
typedef struct Held
{
	char *detail; /* by which process manager, and which event */
	char *hint;
} Held;

/*
 * Is an event from position "from" up to "up_to" still to be handled by a follower of the
 * log, or parked without having been copied?
 */
extern bool held_by(const char *log, int64 from, int64 up_to, Held *held);
/*
 * Keeps other sessions from setting a cursor back to events that are about to be deleted, and
 * from adding a process manager that would start there, until the transaction ends.
 */
extern void held_lock(Oid relid);
/* The lowest cursor of the log's followers; false if it has none. */
extern bool held_slowest(const char *log, int64 *position);

#endif /* PM_HELD_H */
