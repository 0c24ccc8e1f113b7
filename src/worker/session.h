/*
 * session.h
 *		A dispatcher's session: what handlers leave in it, and cleaning it.
 */
#ifndef PM_SESSION_H
#define PM_SESSION_H

/* Before a batch of this process manager: what others left is gone afterwards. */
extern void session_begin_batch(int manager);

/* User's code has run for this many items. */
extern void session_used(int64 items);

/* Removes what user's code has left, if any has run. */
extern void session_clean(void);

#endif /* PM_SESSION_H */
