/*
 * lease_expire.h
 *		What happens to what was fetched when a lease has run out.
 */
#ifndef PM_LEASE_EXPIRE_H
#define PM_LEASE_EXPIRE_H

#include "manager/lane.h"
#include "manager/lease.h"

/* Counts the tries, and ends the lease, which the caller writes. */
extern void lease_expire(Lease *lease, const LaneState *state);

#endif /* PM_LEASE_EXPIRE_H */
