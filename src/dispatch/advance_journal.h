/*
 * advance_journal.h
 *		Adds what a consumer advances to the journals of its instances.
 */
#ifndef PM_ADVANCE_JOURNAL_H
#define PM_ADVANCE_JOURNAL_H

#include "dispatch/fetch_again.h"

typedef struct AdvanceJournal
{
	Lease *lease; /* NULL: there is no journal, or nothing was fetched */
	FetchAgain again;
	List *items;  /* of BatchItem: what was fetched from logs and timers */
	List *parked; /* of Parked: the parked events that were fetched */
	Keys keys;	  /* of the parked events */
} AdvanceJournal;

/* To be called before and after what was fetched is advanced. */
extern void advance_journal_begin(AdvanceJournal *journal, Lease *lease, LaneState *state);
extern void advance_journal_end(AdvanceJournal *journal);

#endif /* PM_ADVANCE_JOURNAL_H */
