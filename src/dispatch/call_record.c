/*
 * call_record.c
 *		Records what a call of an instance's handler has done, for its journal.
 *
 * This costs nothing where a process manager neither has a journal nor keeps ended
 * instances.  An entry is made only when nothing of the call can fail any more, so that
 * what is written at the end of the batch is what has happened.
 */
#include "pm.h"

#include "utils/jsonb.h"

#include "base/effect.h"
#include "base/event.h"
#include "base/within.h"
#include "dispatch/call_record.h"

void
call_record_begin(Journal *journal, const BatchItem *item, CallRecord *record)
{
	const Key *key = item->key;

	record->live = key->live;
	record->started_at = key->started_at;
	record->before = key->live ? key->state : (Datum) 0;
	record->appended = record->timers = (Datum) 0;
	record->result.isnull = true;
	if (journal->entries)
		effect_begin();
}

/*
 * The memory context is that of the call.
 */
void
call_record_returned(Journal *journal, CallRecord *record)
{
	if (!journal->entries)
		return;
	effect_read(&record->appended, &record->timers);
	effect_end();
}

/*
 * Keeps an instance that has ended.
 */
static void
call_record_ended(Journal *journal, const BatchItem *item, const CallRecord *record,
				  TimestampTz now)
{
	JournalEnd end = {.key = item->key->name, .ended_at = now};

	/* It may have begun and ended in the same call. */
	end.started_at = record->live ? record->started_at : now;
	end.state = record->before;
	end.result = record->result.isnull ? (Datum) 0 : record->result.value;
	journal_end(journal, &end);
}

const char *
call_record_sender(const char *log, const EventFields *fields)
{
	JsonbValue room;
	JsonbValue *found;

	if (log != NULL || fields->nulls[EVENT_VERSION - 1])
		return NULL;
	found = getKeyJsonValueFromContainer(&DatumGetJsonbP(fields->values[EVENT_METADATA - 1])->root,
										 SENT_BY, strlen(SENT_BY), &room);
	return found == NULL || found->type != jbvString ?
			   NULL :
			   pnstrdup(found->val.string.val, found->val.string.len);
}

static void
call_record_entry(Journal *journal, const BatchItem *item, const CallRecord *record,
				  TimestampTz now)
{
	Key *key = item->key;
	JournalEntry entry = {.key = key->name, .handled_at = now};
	EventFields fields;

	event_deform(item->event, &fields);
	/* The entries of an instance that begins in this call are counted from 1. */
	if (record->ended && !record->live)
		key->entries = 0;
	entry.started_at = !record->ended ? key->started_at : record->live ? record->started_at : now;
	entry.seq = ++key->entries;
	entry.log = item->log_name;
	entry.position = item->position;
	entry.type = fields.nulls[EVENT_TYPE - 1] ? (Datum) 0 : fields.values[EVENT_TYPE - 1];
	entry.state = key->live ? key->state : (Datum) 0;
	entry.by = call_record_sender(item->log_name, &fields);
	entry.appended = record->appended;
	/* The timers of an instance that has ended are gone. */
	entry.timers = record->ended ? (Datum) 0 : record->timers;
	journal_add(journal, &entry);
}

void
call_record_end(Journal *journal, const BatchItem *item, const CallRecord *record)
{
	TimestampTz now;

	if (!journal->entries && !journal->ends)
		return;
	now = within_time();
	if (record->ended && journal->ends)
		call_record_ended(journal, item, record, now);
	/* An event that a key without an instance ignores is not in a journal. */
	if (journal->entries && (record->ended || item->key->live))
		call_record_entry(journal, item, record, now);
}
