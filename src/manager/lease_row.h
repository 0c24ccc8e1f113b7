/*
 * lease_row.h
 *		Reads and writes the rows of a lease without SQL.
 */
#ifndef PM_LEASE_ROW_H
#define PM_LEASE_ROW_H

#include "manager/lease.h"

/* Reads a lease.  The caller holds the unit's lock, or changes nothing. */
extern void lease_read(ProcessManager *pm, int lane, Lease *lease);

/* Writes it, under the unit's lock. */
extern void lease_write(Lease *lease);

#endif /* PM_LEASE_ROW_H */
