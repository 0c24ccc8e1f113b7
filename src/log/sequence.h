/*
 * sequence.h
 *		The last position that a log's sequence has handed out.
 */
#ifndef PM_SEQUENCE_H
#define PM_SEQUENCE_H

#include "utils/relcache.h"

/* The last position handed out; waits while another session has locked the sequence exclusively. */
extern int64 sequence_last(Oid seqid);
/* The same, of an open sequence. */
extern int64 sequence_read(Relation rel);
/* Opens a sequence without waiting; NULL if it is locked exclusively, or gone. */
extern Relation sequence_open_nowait(Oid seqid);
/*
 * The sequence of a log's positions: that of the first column that is GENERATED
 * ALWAYS AS IDENTITY.  InvalidOid if the table has no such column.
 */
extern Oid sequence_of_log(Relation rel, AttrNumber *attnum);
/* That column alone; InvalidAttrNumber if there is none. */
extern AttrNumber sequence_column(Relation rel);
/*
 * Moves the sequence forward by a number of positions, which it will never draw.  Returns
 * the first and the last of them.  Not undone by a rollback, like nextval().  An error
 * if the sequence would pass its maximum.
 */
extern void sequence_skip(Oid seqid, int64 count, int64 *from, int64 *to);
/* The relfilenode of a sequence, which ALTER SEQUENCE ... RESTART changes. */
extern Oid sequence_file(Oid seqid);

#endif /* PM_SEQUENCE_H */
