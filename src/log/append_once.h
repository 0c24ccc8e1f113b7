/*
 * append_once.h
 *		Appends the event of an id once, however often pm.append is called.
 */
#ifndef PM_APPEND_ONCE_H
#define PM_APPEND_ONCE_H

#include "storage/lock.h"

#include "log/append_write.h"

/* The id of one call of pm.append. */
typedef struct AppendOnce
{
	PmLog *log;
	Datum digest; /* of the id */
	LOCKTAG tag;  /* of the lock that is held between the two functions below */
	bool stale;	  /* the id is recorded for an event that is not in the log any more */
	int64 before; /* if so, the position of that event */
} AppendOnce;

/*
 * Looks for the event of an id, after append_open().  If there is one, returns true and
 * its position.  If not, the caller appends the event, and then calls append_once_end().
 */
extern bool append_once_begin(AppendOnce *once, AppendCall *append, Datum id, int64 *position);
extern void append_once_end(AppendOnce *once, int64 position);

#endif /* PM_APPEND_ONCE_H */
