/*
 * advance_journal.c
 *		Adds what a consumer advances to the journals of its instances.
 *
 * It is not known what a consumer does for an event, only that it has handled the event when
 * it advances.  So pm.advance adds an entry for each event and timer, with the state that the
 * instance has then.  If a consumer handles several events of a key, saves the state once and
 * advances once, all their entries have that state.  The entries do not say what the consumer
 * has appended and which timers it has set.
 *
 * To find out the keys of the events, they are read again.  Without a journal, this is not
 * done.
 */
#include "pm.h"

#include "base/event.h"
#include "base/within.h"
#include "dispatch/advance_journal.h"
#include "dispatch/as_owner.h"
#include "dispatch/call_record.h"
#include "manager/finished.h"
#include "manager/instance.h"
#include "manager/instance_save.h"
#include "manager/journal.h"
#include "manager/park.h"
#include "manager/park_event.h"
#include "manager/park_queue.h"

/* ---------- what was fetched ---------- */

/*
 * Reads the parked events that were fetched, which are all of one key.
 */
static void
advance_journal_read_parked(AdvanceJournal *journal)
{
	ProcessManager *pm = journal->lease->pm;
	Parked *head = NULL;
	ParkReader reader;
	AsOwner as;
	ListCell *lc;

	/* The first ones may have been discarded since. */
	for (int i = 0; i < journal->lease->nparked && head == NULL; i++)
		head = park_get(pm, journal->lease->parked[i]);
	if (head == NULL)
		return;
	key_begin(&journal->keys);
	journal->parked = park_read(pm, journal->lease->lane, head->key, head->id,
								journal->lease->nparked);
	as_owner_begin(&as, pm);
	park_event_begin(&reader, true);
	foreach(lc, journal->parked)
	{
		Parked *parked = lfirst(lc);

		if (parked->log != NULL && !park_event_read(&reader, parked))
			parked->event = (Datum) 0;
	}
	park_event_end(&reader);
	as_owner_end(&as);
}

void
advance_journal_begin(AdvanceJournal *journal, Lease *lease, LaneState *state)
{
	BatchItem *item;

	memset(journal, 0, sizeof(*journal));
	if (!lease->pm->journal || lease_count(lease) == 0)
		return;
	journal->lease = lease;
	if (lease->nparked > 0)
	{
		advance_journal_read_parked(journal);
		return;
	}
	fetch_again(&journal->again, lease, state);
	while ((item = fetch_again_next(&journal->again)) != NULL)
		if (fetch_again_has(&journal->again, item))
			journal->items = lappend(journal->items, item);
}

/* ---------- entries ---------- */

/*
 * Determines the keys of the events that have been advanced.  A consumer may advance one at a
 * time, so correlate is not called for the others.
 */
static void
advance_journal_keys(AdvanceJournal *advance)
{
	Batch *batch = &advance->again.batch;
	ListCell *lc;

	batch->count = 0;
	foreach(lc, advance->items)
	{
		BatchItem *item = lfirst(lc);

		if (item->source == HANDLING_EVENT && !fetch_again_has(&advance->again, item))
			batch->events[batch->count++] = item;
	}
	fetch_again_keys(&advance->again);
}

/*
 * Adds an entry for one key of an event.
 */
static void
advance_journal_add(Journal *journal, Key *key, const char *log, int64 position, Datum event)
{
	JournalEntry entry = {.key = key->name,
						  .log = log,
						  .position = position,
						  .handled_at = within_time()};
	Finished *finished;
	EventFields fields;

	instance_load(journal->pm, key);
	finished = finished_find(journal->pm, key->name);
	/* There is no entry for an event whose key has no instance. */
	if (!key->live && finished == NULL)
		return;
	event_deform(event, &fields);
	entry.type = fields.nulls[EVENT_TYPE - 1] ? (Datum) 0 : fields.values[EVENT_TYPE - 1];
	entry.by = call_record_sender(log, &fields);
	entry.started_at = key->live ? key->started_at : finished->started_at;
	entry.seq = key->live ? ++key->entries : finished_count(finished);
	entry.state = key->live ? key->state : (Datum) 0;
	/* The instance's row has the number of entries, so it must be written. */
	key->changed |= key->live;
	journal_add(journal, &entry);
	journal_save_full(journal);
}

/*
 * Adds the entries for an item, if it has been advanced.  For some of its keys it may have
 * been parked; these get no entry.
 */
static void
advance_journal_item(AdvanceJournal *advance, Journal *journal, const BatchItem *item)
{
	if (fetch_again_has(&advance->again, item))
		return;
	for (int i = 0; i < Max(item->nkeys, 1); i++)
	{
		Key *key = item->nkeys > 0 ? item->keys[i] : item->key;

		if (item->nkeys > 0 &&
			park_has_event(journal->pm, item->log_name, item->position, key->name))
			continue;
		advance_journal_add(journal, key, item->log_name, item->position, item->event);
	}
}

static void
advance_journal_parked(AdvanceJournal *advance, Journal *journal)
{
	ListCell *lc;

	foreach(lc, advance->parked)
	{
		Parked *parked = lfirst(lc);

		/* A parked event that was not fetched, or is not advanced, still has its row. */
		if (parked->event != (Datum) 0 && park_get(journal->pm, parked->id) == NULL)
			advance_journal_add(journal, key_get_text(&advance->keys, parked->key), parked->log,
								parked->position, parked->event);
	}
}

void
advance_journal_end(AdvanceJournal *advance)
{
	ProcessManager *pm;
	Journal journal;
	ListCell *lc;

	if (advance->lease == NULL)
		return;
	pm = advance->lease->pm;
	journal_begin(&journal, pm);
	if (advance->items != NIL)
		advance_journal_keys(advance);
	foreach(lc, advance->items)
		advance_journal_item(advance, &journal, lfirst(lc));
	if (advance->items != NIL)
		instance_save(pm, &advance->again.batch.keys);
	if (advance->parked != NIL)
	{
		advance_journal_parked(advance, &journal);
		instance_save(pm, &advance->keys);
	}
	journal_save(&journal);
}
