/*
 * attach_sequence.h
 *		The sequence from which a column of positions is filled.
 */
#ifndef PM_ATTACH_SEQUENCE_H
#define PM_ATTACH_SEQUENCE_H

#include "utils/relcache.h"

/*
 * The sequence from which the column is filled: that of the identity column, or of its default.
 * InvalidOid if there is none.  *other is whether the column has another default.
 */
extern Oid attach_sequence(Relation rel, AttrNumber attnum, bool *other);
/* The xmin of the sequence's row in pg_sequence. */
extern TransactionId attach_sequence_xmin(Oid seqid);

#endif /* PM_ATTACH_SEQUENCE_H */
