/*
 * finished.h
 *		The instances that consumers have ended in this transaction.
 */
#ifndef PM_FINISHED_H
#define PM_FINISHED_H

#include "base/key.h"
#include "manager/registry.h"

typedef struct Finished
{
	int manager; /* the id of the process manager */
	char *key;
	TimestampTz started_at;
	int64 entries; /* of its journal so far */
	SubTransactionId subid;
} Finished;

extern void finished_install(void);

/* A consumer has ended the instance of this key. */
extern void finished_add(const ProcessManager *pm, const Key *key);

/* The last instance of this key that was ended in this transaction, or NULL. */
extern Finished *finished_find(const ProcessManager *pm, const char *key);

/* Its journal gets one more entry.  Returns how many it has then. */
extern int64 finished_count(Finished *one);

#endif /* PM_FINISHED_H */
