/*
 * relation_change.h
 *		Which relations have changed while their catalog rows were being read.
 */
#ifndef PM_RELATION_CHANGE_H
#define PM_RELATION_CHANGE_H

/*
 * The callback for invalidations of relations reports each one here; InvalidOid means any
 * relation.
 */
extern void relation_change_note(Oid relid);
/* A point in time, to be remembered before the snapshot is taken. */
extern uint64 relation_change_point(void);
/* May this relation have changed since then? */
extern bool relation_change_since(uint64 point, Oid relid);

#endif /* PM_RELATION_CHANGE_H */
