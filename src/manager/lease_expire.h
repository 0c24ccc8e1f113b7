/*
 * lease_expire.h
 *		What happens to what was fetched when a lease has run out.
 */
#ifndef PM_LEASE_EXPIRE_H
#define PM_LEASE_EXPIRE_H

#include "manager/lease.h"

/* Counts the tries, and ends the lease, which the caller writes. */
extern void lease_expire(Lease *lease);

#endif /* PM_LEASE_EXPIRE_H */
