/*
 * journal.c
 *		The journals of instances, and the instances that have ended.
 *
 * A journal has an entry for each event and timer that an instance has handled, and for
 * each change that a person has made.  An ended instance is kept, with its last state and
 * its result, for as long as its process manager says (keep_ended).  Both are written in
 * the transaction that handles the events, once for each batch, without a statement: all
 * rows at once (bulk.c).
 *
 * seq counts the entries of one instance, from its beginning to its end.  The row of the
 * instance has the count, so that it continues although old entries are removed
 * (journal_purge.c).
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "base/bulk.h"
#include "base/report.h"
#include "manager/journal.h"

/* More than this is not collected before it is written. */
#define JOURNAL_FULL_ROWS  1000
#define JOURNAL_FULL_BYTES (16 * 1024 * 1024)

/* The columns of pm_catalog.journal by number. */
enum
{
	JOURNAL_ID = 1,
	JOURNAL_MANAGER,
	JOURNAL_KEY,
	JOURNAL_STARTED_AT,
	JOURNAL_SEQ,
	JOURNAL_LOG,
	JOURNAL_POSITION,
	JOURNAL_TYPE,
	JOURNAL_HANDLED_AT,
	JOURNAL_STATE,
	JOURNAL_APPENDED,
	JOURNAL_TIMERS,
	JOURNAL_BY,
	JOURNAL_REASON
};
#define JOURNAL_COLUMNS JOURNAL_REASON

static const char *const journal_columns[] = {
	[JOURNAL_ID - 1] = "id",
	[JOURNAL_MANAGER - 1] = "process_manager",
	[JOURNAL_KEY - 1] = "key",
	[JOURNAL_STARTED_AT - 1] = "started_at",
	[JOURNAL_SEQ - 1] = "seq",
	[JOURNAL_LOG - 1] = "log",
	[JOURNAL_POSITION - 1] = "position",
	[JOURNAL_TYPE - 1] = "type",
	[JOURNAL_HANDLED_AT - 1] = "handled_at",
	[JOURNAL_STATE - 1] = "state",
	[JOURNAL_APPENDED - 1] = "appended",
	[JOURNAL_TIMERS - 1] = "timers",
	[JOURNAL_BY - 1] = "by",
	[JOURNAL_REASON - 1] = "reason",
};

StaticAssertDecl(lengthof(journal_columns) == JOURNAL_COLUMNS,
				 "journal_columns[] must have all columns");

/* The sequence of the ids increments by this number. */
#define JOURNAL_IDS 100

static BulkTable journal_table = {"journal",  journal_columns, JOURNAL_COLUMNS,
								  JOURNAL_ID, JOURNAL_IDS,	   InvalidOid,
								  0};

/* The columns of pm_catalog.ended by number. */
enum
{
	ENDED_MANAGER = 1,
	ENDED_KEY,
	ENDED_STARTED_AT,
	ENDED_AT,
	ENDED_STATE,
	ENDED_RESULT,
	ENDED_REASON,
	ENDED_BY
};
#define ENDED_COLUMNS ENDED_BY

static const char *const ended_columns[] = {
	[ENDED_MANAGER - 1] = "process_manager",
	[ENDED_KEY - 1] = "key",
	[ENDED_STARTED_AT - 1] = "started_at",
	[ENDED_AT - 1] = "ended_at",
	[ENDED_STATE - 1] = "state",
	[ENDED_RESULT - 1] = "result",
	[ENDED_REASON - 1] = "reason",
	[ENDED_BY - 1] = "ended_by",
};

StaticAssertDecl(lengthof(ended_columns) == ENDED_COLUMNS, "ended_columns[] must have all columns");

static BulkTable ended_table = {"ended", ended_columns, ENDED_COLUMNS, 0, 0, InvalidOid, 0};

static void
journal_open(Journal *journal, ProcessManager *pm, bool entries)
{
	memset(journal, 0, sizeof(*journal));
	journal->pm = pm;
	journal->entries = entries;
	journal->ends = pm->keep_ended >= 0;
	if (journal->entries || journal->ends)
		journal->context = AllocSetContextCreate(CurrentMemoryContext, "pm journal",
												 ALLOCSET_DEFAULT_SIZES);
}

void
journal_begin(Journal *journal, ProcessManager *pm)
{
	journal_open(journal, pm, pm->journal);
}

void
journal_begin_always(Journal *journal, ProcessManager *pm)
{
	journal_open(journal, pm, true);
}

/* ---------- what is to be written ---------- */

/*
 * Copies a value of variable length, 0 for none.
 */
static Datum
journal_copy(Journal *journal, Datum value)
{
	if (value == (Datum) 0)
		return value;
	value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	journal->bytes += VARSIZE(DatumGetPointer(value));
	return value;
}

static const char *
journal_copy_text(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
}

void
journal_add(Journal *journal, const JournalEntry *entry)
{
	MemoryContext caller = MemoryContextSwitchTo(journal->context);
	JournalEntry *copy = palloc(sizeof(JournalEntry));

	*copy = *entry;
	/* Names of keys and logs live as long as the batch. */
	copy->type = journal_copy(journal, entry->type);
	copy->state = journal_copy(journal, entry->state);
	copy->appended = journal_copy(journal, entry->appended);
	copy->timers = journal_copy(journal, entry->timers);
	copy->by = journal_copy_text(entry->by);
	copy->reason = journal_copy_text(entry->reason);
	journal->added = lappend(journal->added, copy);
	MemoryContextSwitchTo(caller);
}

void
journal_end(Journal *journal, const JournalEnd *end)
{
	MemoryContext caller = MemoryContextSwitchTo(journal->context);
	JournalEnd *copy = palloc(sizeof(JournalEnd));

	*copy = *end;
	copy->state = journal_copy(journal, end->state);
	copy->result = journal_copy(journal, end->result);
	copy->by = journal_copy_text(end->by);
	copy->reason = journal_copy_text(end->reason);
	journal->ended = lappend(journal->ended, copy);
	MemoryContextSwitchTo(caller);
}

JournalMark
journal_mark(const Journal *journal)
{
	JournalMark mark = {list_length(journal->added), list_length(journal->ended), journal->bytes};

	return mark;
}

void
journal_undo(Journal *journal, JournalMark mark)
{
	journal->added = list_truncate(journal->added, mark.added);
	journal->ended = list_truncate(journal->ended, mark.ended);
	journal->bytes = mark.bytes;
}

/* ---------- writing ---------- */

static void
journal_set_text(Bulk *bulk, AttrNumber column, const char *text)
{
	bulk_set(bulk, column, text == NULL ? (Datum) 0 : CStringGetTextDatum(text), text == NULL);
}

/*
 * Sets a column to a value of variable length, 0 for NULL.
 */
static void
journal_set(Bulk *bulk, AttrNumber column, Datum value)
{
	bulk_set(bulk, column, value, value == (Datum) 0);
}

static void
journal_write_entry(Bulk *bulk, Datum manager, const JournalEntry *entry)
{
	(void) bulk_add(bulk);
	journal_set(bulk, JOURNAL_MANAGER, manager);
	journal_set_text(bulk, JOURNAL_KEY, entry->key);
	bulk_set(bulk, JOURNAL_STARTED_AT, TimestampTzGetDatum(entry->started_at),
			 entry->started_at == 0);
	bulk_set(bulk, JOURNAL_SEQ, Int64GetDatum(entry->seq), false);
	journal_set_text(bulk, JOURNAL_LOG, entry->log);
	bulk_set(bulk, JOURNAL_POSITION, Int64GetDatum(entry->position), entry->log == NULL);
	journal_set(bulk, JOURNAL_TYPE, entry->type);
	bulk_set(bulk, JOURNAL_HANDLED_AT, TimestampTzGetDatum(entry->handled_at), false);
	journal_set(bulk, JOURNAL_STATE, entry->state);
	journal_set(bulk, JOURNAL_APPENDED, entry->appended);
	journal_set(bulk, JOURNAL_TIMERS, entry->timers);
	journal_set_text(bulk, JOURNAL_BY, entry->by);
	journal_set_text(bulk, JOURNAL_REASON, entry->reason);
}

static void
journal_write_end(Bulk *bulk, Datum manager, const JournalEnd *end)
{
	(void) bulk_add(bulk);
	journal_set(bulk, ENDED_MANAGER, manager);
	journal_set_text(bulk, ENDED_KEY, end->key);
	bulk_set(bulk, ENDED_STARTED_AT, TimestampTzGetDatum(end->started_at), false);
	bulk_set(bulk, ENDED_AT, TimestampTzGetDatum(end->ended_at), false);
	journal_set(bulk, ENDED_STATE, end->state);
	journal_set(bulk, ENDED_RESULT, end->result);
	journal_set_text(bulk, ENDED_REASON, end->reason);
	journal_set_text(bulk, ENDED_BY, end->by);
}

void
journal_save(Journal *journal)
{
	MemoryContext caller;
	Datum manager;
	ListCell *lc;
	Bulk bulk;

	if (journal->added == NIL && journal->ended == NIL)
		return;
	caller = MemoryContextSwitchTo(journal->context);
	manager = CStringGetTextDatum(journal->pm->name);
	if (journal->added != NIL)
	{
		bulk_begin(&bulk, &journal_table);
		foreach(lc, journal->added)
			journal_write_entry(&bulk, manager, lfirst(lc));
		bulk_end(&bulk);
	}
	if (journal->ended != NIL)
	{
		bulk_begin(&bulk, &ended_table);
		foreach(lc, journal->ended)
			journal_write_end(&bulk, manager, lfirst(lc));
		bulk_end(&bulk);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(journal->context);
	journal->added = journal->ended = NIL;
	journal->bytes = 0;
}

void
journal_save_full(Journal *journal)
{
	if (journal->bytes >= JOURNAL_FULL_BYTES ||
		list_length(journal->added) + list_length(journal->ended) >= JOURNAL_FULL_ROWS)
		journal_save(journal);
}
