/*
 * furthest.h
 *		How far the furthest cursor in a log is.
 */
#ifndef PM_FURTHEST_H
#define PM_FURTHEST_H

/*
 * The position of the furthest cursor in the log with this table, 0 if nobody
 * follows it.  What this transaction has done itself counts only with "own".
 */
extern int64 furthest_cursor(Oid relid, bool own);
/* The same, with all transactions that are still open counted as committed. */
extern int64 furthest_moved(Oid relid);

#endif /* PM_FURTHEST_H */
