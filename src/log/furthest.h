/*
 * furthest.h
 *		Finds the furthest cursor in a log.
 */
#ifndef PM_FURTHEST_H
#define PM_FURTHEST_H

/*
 * The position of the furthest cursor in the log with this table, 0 if no
 * process manager follows the log.  What this transaction itself has written
 * counts only with "own".
 */
extern int64 furthest_cursor(Oid relid, bool own);
/* The same, as if all open transactions had committed. */
extern int64 furthest_moved(Oid relid);

#endif /* PM_FURTHEST_H */
