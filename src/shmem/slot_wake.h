/*
 * slot_wake.h
 *		Wakes workers.
 */
#ifndef PM_SLOT_WAKE_H
#define PM_SLOT_WAKE_H

#include "shmem/worker_kind.h"

/* A bit for each worker. */
#define SLOT_WAKE_WORDS (WORKER_MAX / 64)

extern void slot_wake(int index);

/* Wakes the workers of a kind, only those of one database unless it is InvalidOid. */
extern void slot_wake_kind(WorkerKind kind, Oid database);

/* Wakes the workers whose bits are set in SLOT_WAKE_WORDS words. */
extern void slot_wake_bits(const uint64 *words);

#endif /* PM_SLOT_WAKE_H */
