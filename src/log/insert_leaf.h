/*
 * insert_leaf.h
 *		The partition into which an event is written.
 */
#ifndef PM_INSERT_LEAF_H
#define PM_INSERT_LEAF_H

#include "log/log.h"
#include "log/partition.h"

/*
 * The leaf that takes this position, which was drawn.  NULL if PostgreSQL must find it; an error
 * if there is none.
 */
extern const PartitionLeaf *insert_leaf(PmLog *log, Relation root, const PartitionSet **set,
										int64 position);
/* Would an INSERT of an event into the leaf do nothing but write the row? */
extern bool insert_leaf_is_plain(Relation leaf, const AttrNumber *column);

#endif /* PM_INSERT_LEAF_H */
