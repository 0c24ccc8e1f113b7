/*
 * sequence.h
 *		The last position that a log's sequence has handed out.
 */
#ifndef PM_SEQUENCE_H
#define PM_SEQUENCE_H

#include "utils/relcache.h"

/* A locked sequence. */
typedef struct Sequence
{
	Oid seqid;
	Relation rel;	 /* NULL: it is read without being opened, */
	CompatFile file; /* because this is known to be its file */
} Sequence;

/* The last position handed out; waits while another session has locked the sequence exclusively. */
extern int64 sequence_last(Oid seqid);

/* Locks a sequence without waiting; false if it is locked exclusively, or gone. */
extern bool sequence_open_nowait(Oid seqid, Sequence *sequence);
/* Its last position. */
extern int64 sequence_read(const Sequence *sequence);
/* Has this transaction given it a new file? */
extern bool sequence_is_new(const Sequence *sequence);
extern void sequence_close(Sequence *sequence);
/* All of these; false if it cannot be read now. */
extern bool sequence_look(Oid seqid, int64 *last);

/* Remembers the file of a sequence, so that it need not be opened, until it changes. */
extern void sequence_remember(Oid seqid, Oid tablespace, Oid file);
/* A relation has changed; InvalidOid: any. */
extern void sequence_forget(Oid relid);

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
