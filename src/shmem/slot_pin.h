/*
 * slot_pin.h
 *		Transactions that have used the mark of a log.
 */
#ifndef PM_SLOT_PIN_H
#define PM_SLOT_PIN_H

#include "shmem/slot_ref.h"

extern void slot_pin_install(void);

/* Pins the slot until the end of this transaction.  The slot is locked. */
extern void slot_pin(LogSlot *slot);

#endif /* PM_SLOT_PIN_H */
