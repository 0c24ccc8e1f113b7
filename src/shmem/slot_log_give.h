/*
 * slot_log_give.h
 *		Gives slots to logs, and takes them back.
 *
 * This header is private to src/shmem.  The caller of each function holds
 * LogSlots->lock exclusively.
 */
#ifndef PM_SLOT_LOG_GIVE_H
#define PM_SLOT_LOG_GIVE_H

#include "shmem/slot_log_table.h"

/* Gives a slot to a log that has none; NULL when none can be had. */
extern LogSlot *slot_log_give(const LogKey *key, Oid owner);

/* Takes a slot from its log; false if it is pinned, unless the log is gone. */
extern bool slot_log_take(LogSlot *slot, bool gone);

#endif /* PM_SLOT_LOG_GIVE_H */
