/*
 * furthest.h
 *		How far the furthest cursor in a log is.
 */
#ifndef PM_FURTHEST_H
#define PM_FURTHEST_H

extern int64 furthest_moved(Oid relid);
extern int64 furthest_cursor(Oid relid, bool own);

#endif /* PM_FURTHEST_H */
