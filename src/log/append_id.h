/*
 * append_id.h
 *		The rows that say which event has which id.
 */
#ifndef PM_APPEND_ID_H
#define PM_APPEND_ID_H

#include "log/log.h"

/*
 * Looks for the position of an id, whose digest is given.  Also finds a row that another
 * transaction is writing or removing: then *other is that transaction.
 */
extern bool append_id_look(const char *log, Datum digest, int64 *position, TransactionId *other);

/* Does the snapshot of the transaction show that the id has this position? */
extern bool append_id_seen(const char *log, Datum digest, int64 position);

/*
 * Records the position of an id.  If the id has a row already, the row must have the
 * position *before; false if it has another one.
 */
extern bool append_id_record(const char *log, Datum digest, int64 position, const int64 *before);

/* Removes the ids of events, up to a position, that are no longer in the log. */
extern void append_id_trim(PmLog *log, int64 up_to);

/* Removes the rows of the events from one position up to another. */
extern void append_id_remove(const char *log, int64 from, int64 to);
/* Removes all ids of a log. */
extern void append_id_forget(const char *log);

/* Does the extension have the table of these rows?  It came with version 0.2.0. */
extern bool append_id_exists(void);

#endif /* PM_APPEND_ID_H */
