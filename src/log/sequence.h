/*
 * sequence.h
 *		The last position that a log's sequence has handed out.
 */
#ifndef PM_SEQUENCE_H
#define PM_SEQUENCE_H

#include "utils/relcache.h"

extern int64 sequence_last(Oid seqid);
extern Relation sequence_open_nowait(Oid seqid);
extern int64 sequence_read(Relation rel);
extern Oid sequence_of_log(Relation rel, AttrNumber *attnum);
extern Oid sequence_file(Oid seqid);

#endif /* PM_SEQUENCE_H */
