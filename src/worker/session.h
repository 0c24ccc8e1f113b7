/*
 * session.h
 *		Cleans a dispatcher's session of what handlers leave in it.
 */
#ifndef PM_SESSION_H
#define PM_SESSION_H

/* Called before a batch of this process manager: removes what the handlers of others have left. */
extern void session_begin_batch(int manager);

/* Records that user's code has run for this many items. */
extern void session_used(int64 items);

/* Removes what user's code has left, if any has run. */
extern void session_clean(void);

#endif /* PM_SESSION_H */
