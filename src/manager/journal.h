/*
 * journal.h
 *		What a batch has to write into the journals of instances, and of instances that have ended.
 */
#ifndef PM_JOURNAL_H
#define PM_JOURNAL_H

#include "base/key.h"
#include "manager/registry.h"

/* What a journal says about one event, timer or change by a person. */
typedef struct JournalEntry
{
	const char *key;
	TimestampTz started_at; /* of the instance; 0: there was none */
	int64 seq;
	const char *log; /* NULL: no event of a log */
	int64 position;
	Datum type; /* text, 0: a change by a person */
	TimestampTz handled_at;
	Datum state;	/* jsonb, the state afterwards; 0: the instance has ended */
	Datum appended; /* jsonb; 0: nothing */
	Datum timers;	/* jsonb; 0: none */
	const char *by; /* a role; NULL: none */
	const char *reason;
} JournalEntry;

/* An instance that has ended. */
typedef struct JournalEnd
{
	const char *key;
	TimestampTz started_at;
	TimestampTz ended_at;
	Datum state;  /* jsonb, the last state; 0: it had none */
	Datum result; /* jsonb; 0: none */
	const char *by;
	const char *reason;
} JournalEnd;

/* What a batch has to write. */
typedef struct Journal
{
	ProcessManager *pm;
	bool entries; /* the process manager has a journal */
	bool ends;	  /* it keeps ended instances */
	MemoryContext context;
	List *added; /* of JournalEntry */
	List *ended; /* of JournalEnd */
	Size bytes;	 /* of both */
} Journal;

/* How much there is to write. */
typedef struct JournalMark
{
	int added;
	int ended;
	Size bytes;
} JournalMark;

/* Begins with nothing to write, in the current memory context. */
extern void journal_begin(Journal *journal, ProcessManager *pm);

/* The same for a change by a person, which is recorded in any case. */
extern void journal_begin_always(Journal *journal, ProcessManager *pm);

/* Copies an entry, or an ended instance, that is to be written. */
extern void journal_add(Journal *journal, const JournalEntry *entry);
extern void journal_end(Journal *journal, const JournalEnd *end);

/* Drops the entries added since a mark was set, if nothing has been written since. */
extern JournalMark journal_mark(const Journal *journal);
extern void journal_undo(Journal *journal, JournalMark mark);

/* Writes all of it, if there is so much that the end of the batch would be too late. */
extern void journal_save_full(Journal *journal);

/* Writes all of it. */
extern void journal_save(Journal *journal);

#endif /* PM_JOURNAL_H */
