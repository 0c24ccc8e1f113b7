/*
 * journal_purge.h
 *		Removes ended instances and entries of journals that need not be kept any longer.
 */
#ifndef PM_JOURNAL_PURGE_H
#define PM_JOURNAL_PURGE_H

#include "manager/registry.h"

/* Up to where rows have been removed; all zeros: not known. */
typedef struct JournalPurge
{
	TimestampTz ended;
	TimestampTz journal;
	TimestampTz since; /* when the search last began at the first row */
} JournalPurge;

/*
 * Removes a limited number of rows, the oldest first.  Returns whether there may be more that
 * need not be kept.
 */
extern bool journal_purge(ProcessManager *pm, JournalPurge *purge);

#endif /* PM_JOURNAL_PURGE_H */
