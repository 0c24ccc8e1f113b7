/*
 * advance_journal.h
 *		The journals of the instances that a consumer keeps.
 */
#ifndef PM_ADVANCE_JOURNAL_H
#define PM_ADVANCE_JOURNAL_H

#include "dispatch/fetch_again.h"

typedef struct AdvanceJournal
{
	Lease *lease; /* NULL: there is no journal, or nothing was fetched */
	FetchAgain again;
	List *items;  /* of BatchItem: what was fetched, */
	List *parked; /* of Parked: or these events */
	Keys keys;	  /* of the parked ones */
} AdvanceJournal;

/* To be called before what was fetched is advanced, and after it. */
extern void advance_journal_begin(AdvanceJournal *journal, Lease *lease, LaneState *state);
extern void advance_journal_end(AdvanceJournal *journal);

#endif /* PM_ADVANCE_JOURNAL_H */
