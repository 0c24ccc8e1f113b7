/*
 * erase_commit.h
 *		Erases what process managers of other roles have kept, at commit.
 */
#ifndef PM_ERASE_COMMIT_H
#define PM_ERASE_COMMIT_H

/* The current role has erased these events. */
extern void erase_commit_later(const char *log, Datum positions, Datum replacement);

/* Called when the library is loaded. */
extern void erase_commit_install(void);

#endif /* PM_ERASE_COMMIT_H */
