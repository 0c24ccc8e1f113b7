/*
 * acl_copy.h
 *		Gives a relation the rights that roles have on another one.
 */
#ifndef PM_ACL_COPY_H
#define PM_ACL_COPY_H

/*
 * Copies the rights on a table or sequence, and on its columns by their names, to another one of
 * the same kind and the same owner.  Rights that the other one had before are removed.
 */
extern void acl_copy(Oid from, Oid to);

#endif /* PM_ACL_COPY_H */
