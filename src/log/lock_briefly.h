/*
 * lock_briefly.h
 *		Locks a log's table exclusively without making its writers wait for a long time.
 */
#ifndef PM_LOCK_BRIEFLY_H
#define PM_LOCK_BRIEFLY_H

/*
 * Locks a table exclusively, and then its sequence, if one is given.  False if neither is locked,
 * because other transactions kept their locks during all attempts.
 */
extern bool lock_briefly(Oid relid, Oid seqid);

#endif /* PM_LOCK_BRIEFLY_H */
