/*
 * note.c
 *		Notes, after a promotion, for which item a handler is about to be called.
 *
 * A handler that crashes its server leaves a crash mark, but in a file of that server.
 * If a standby is promoted then, it knows nothing of the crash, calls the handler for
 * the same event, and crashes too, and so does the next one.  So a unit goes carefully
 * after a promotion, until it has passed the items that may have been in hand, that
 * is, being handled, when the old primary was lost: before each call, the item is
 * noted in pm_catalog.noted, in a transaction of its own.  The transaction of the call
 * removes the note.
 *
 * If that server is lost during the call, the next primary finds a note of an earlier
 * timeline.  Since calls that are noted take turns (slot_careful.c), the noted item is the
 * one that was in hand when the server was lost.  Two primaries have now been lost with
 * this item in hand, so it is not tried again.  Other calls are made at the same time only
 * if a call takes a long time.  Then the notes of all of them are marked as shared, and a
 * shared note counts as one crash.
 *
 * lane.careful_to says which parked events were in hand.  Each attempt of those that have
 * failed is noted, even when the unit has passed everything else (careful.c).
 *
 * A note of the present timeline adds nothing to the crash mark, which is in the same
 * data directory.
 *
 * lane.timeline says on which timeline a unit has passed what was in hand (lane.c).  It is
 * written with what the unit handles then, or when its dispatcher is idle (passed.c).
 */
#include "pm.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/scan.h"
#include "base/version.h"
#include "manager/note.h"

/* Columns of pm_catalog.noted, in the order in which CREATE TABLE has them. */
enum
{
	NOTED_MANAGER = 1,
	NOTED_LANE,
	NOTED_TIMELINE,
	NOTED_WHAT,
	NOTED_LOG,
	NOTED_POSITION,
	NOTED_ID,
	NOTED_SHARED
};

static const char *const note_names[] =
	{[HANDLING_EVENT] = "event", [HANDLING_TIMER] = "timer", [HANDLING_PARKED] = "parked"};
#define NOTE_CORRELATE "correlate"

int
note_timeline(void)
{
	return RecoveryInProgress() ? 0 : (int) GetWALInsertionTimeLine();
}

static void
note_read(const ProcessManager *pm, int lane, RowScan *scan, Note *note)
{
	Handling *what = &note->what;
	char *name = scan_text(scan, NOTED_WHAT);

	memset(note, 0, sizeof(*note));
	what->manager = pm->id;
	what->lane = lane;
	what->lanes = pm->lanes;
	what->correlating = strcmp(name, NOTE_CORRELATE) == 0;
	for (int i = 0; i < lengthof(note_names); i++)
		if (strcmp(name, note_names[i]) == 0)
			what->source = (HandlingSource) i;
	strlcpy(what->log, scan_text(scan, NOTED_LOG), sizeof(what->log));
	what->position = DatumGetInt64(scan->values[NOTED_POSITION - 1]);
	what->id = DatumGetInt64(scan->values[NOTED_ID - 1]);
	note->left = DatumGetInt32(scan->values[NOTED_TIMELINE - 1]) != note_timeline();
	note->shared = DatumGetBool(scan->values[NOTED_SHARED - 1]);
}

/*
 * Each unit asks this after a promotion, so it needs no SQL.
 */
bool
note_get(const ProcessManager *pm, int lane, Note *note)
{
	RowScan scan;
	bool found;

	scan_begin(&scan, "noted", "noted_key", AccessShareLock);
	scan_where_text(&scan, NOTED_MANAGER, pm->name);
	scan_where_int4(&scan, NOTED_LANE, lane);
	found = scan_next(&scan);
	if (found)
		note_read(pm, lane, &scan, note);
	scan_end(&scan);
	return found;
}

void
note_set(const ProcessManager *pm, const Handling *what, bool shared)
{
	static ExecStatement insert_note = {
		NULL,
		"INSERT INTO pm_catalog.noted "
		"(process_manager, lane, timeline, what, log, position, id, shared) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		8,
		{TEXTOID, INT4OID, INT4OID, TEXTOID, TEXTOID, INT8OID, INT8OID, BOOLOID},
	};
	Datum values[8];

	note_forget(pm->name, what->lane);
	exec_unit_args(values, pm->name, what->lane);
	values[2] = Int32GetDatum(note_timeline());
	values[3] = CStringGetTextDatum(what->correlating ? NOTE_CORRELATE : note_names[what->source]);
	values[4] = CStringGetTextDatum(what->log);
	values[5] = Int64GetDatum(what->position);
	values[6] = Int64GetDatum(what->id);
	values[7] = BoolGetDatum(shared);
	(void) exec_as_owner(&insert_note, values, NULL);
}

void
note_forget(const char *manager, int lane)
{
	static ExecStatement delete_note = {
		NULL,
		"DELETE FROM pm_catalog.noted "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 AND lane OPERATOR(pg_catalog.=) $2",
		2,
		{TEXTOID, INT4OID},
	};
	Datum values[2];

	exec_unit_args(values, manager, lane);
	(void) exec_as_owner(&delete_note, values, NULL);
}

void
note_void(const char *manager)
{
	static ExecStatement delete_notes = {
		NULL,
		"DELETE FROM pm_catalog.noted WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};

	if (version_has("0.2.0"))
		(void) exec_as_owner(&delete_notes, values, NULL);
}

/*
 * A note whose call is about to commit is locked, and need not be marked.
 */
void
note_share_all(void)
{
	static ExecStatement update_notes = {
		NULL,
		"UPDATE pm_catalog.noted SET shared = true "
		"WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT n.ctid FROM pm_catalog.noted n "
		"WHERE n.timeline OPERATOR(pg_catalog.=) $1 AND NOT n.shared FOR UPDATE SKIP LOCKED))",
		1,
		{INT4OID},
	};
	Datum values[1] = {Int32GetDatum(note_timeline())};

	if (version_has("0.2.0"))
		(void) exec_as_owner(&update_notes, values, NULL);
}

bool
note_is(const Handling *noted, const Handling *what)
{
	return noted->source == what->source && noted->position == what->position &&
		   noted->id == what->id && strcmp(noted->log, what->log) == 0;
}
