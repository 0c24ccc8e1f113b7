/*
 * slot_batch.h
 *		The batches that lanes of a process manager run, and have run recently.
 */
#ifndef PM_SLOT_BATCH_H
#define PM_SLOT_BATCH_H

/* This dispatcher runs a batch of a lane of the process manager with this id. */
extern void slot_batch_begin(int manager);
extern void slot_batch_end(void);

/* The batch is about to commit with this transaction ID, which may be invalid. */
extern void slot_batch_commits(TransactionId xid);

/* Does another dispatcher run a batch of the same process manager? */
extern bool slot_batch_others(void);

/* Is one of them the process with this pid? */
extern bool slot_batch_is_run_by(int pid);

/* Was this transaction such a batch?  Only the last ones of each dispatcher are known. */
extern bool slot_batch_was(TransactionId xid);

#endif /* PM_SLOT_BATCH_H */
