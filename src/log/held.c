/*
 * held.c
 *		What keeps events of a log from being deleted.
 *
 * An event may be deleted when every follower has handled it.  An event that a follower has
 * parked is read from the log again when it is retried, unless it was copied
 * (kept_event.c).
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "log/held.h"
#include "log/kept_event.h"

/* Parked events of a log, from one position up to another. */
#define HELD_PARKED(condition)                                                                     \
	"SELECT p.name, k.position FROM pm_catalog.process_manager p CROSS JOIN LATERAL "              \
	"(SELECT e.position FROM pm_catalog.parked e "                                                 \
	"WHERE e.process_manager OPERATOR(pg_catalog.=) p.name "                                       \
	"AND e.log OPERATOR(pg_catalog.=) $1 AND e.position OPERATOR(pg_catalog.>=) $3 "               \
	"AND e.position OPERATOR(pg_catalog.<=) $2 " condition                                         \
	"ORDER BY e.position LIMIT 1) k ORDER BY k.position LIMIT 1"

static bool
held_by_cursor(const char *log, int64 up_to, Held *held)
{
	static ExecStatement slowest =
		{NULL,
		 "SELECT process_manager, position FROM pm_catalog.cursor "
		 "WHERE log OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.<) $2 "
		 "ORDER BY position LIMIT 1",
		 2,
		 {TEXTOID, INT8OID}};
	Datum values[2] = {CStringGetTextDatum(log), Int64GetDatum(up_to)};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	bool isnull;
	bool found;

	exec_begin_owner(&scope);
	found = exec_statement(&slowest, values, NULL) > 0;
	if (found)
	{
		char *name = exec_text(0, 1);
		long long position = DatumGetInt64(exec_value(0, 2, &isnull));
		MemoryContext own = MemoryContextSwitchTo(caller);

		held->detail = psprintf("Process manager \"%s\" has handled it up to position %lld only.",
								name, position);
		held->hint = psprintf("Wait until it has handled the rest, or call pm.unfollow(%s, %s).",
							  quote_literal_cstr(name), quote_literal_cstr(log));
		MemoryContextSwitchTo(own);
	}
	exec_end(&scope);
	return found;
}

static bool
held_by_parked(const char *log, int64 from, int64 up_to, Held *held)
{
	static ExecStatement oldest = {NULL, HELD_PARKED(""), 3, {TEXTOID, INT8OID, INT8OID}};
	static ExecStatement oldest_not_kept = {NULL,
											HELD_PARKED(
												"AND NOT EXISTS (SELECT FROM pm_catalog.kept_event "
												"c WHERE c.log OPERATOR(pg_catalog.=) e.log AND "
												"c.position OPERATOR(pg_catalog.=) e.position) "),
											3,
											{TEXTOID, INT8OID, INT8OID}};
	Datum values[3] = {CStringGetTextDatum(log), Int64GetDatum(up_to), Int64GetDatum(from)};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	bool isnull;
	bool found;

	exec_begin_owner(&scope);
	found = exec_statement(kept_event_exists() ? &oldest_not_kept : &oldest, values, NULL) > 0;
	if (found)
	{
		char *name = exec_text(0, 1);
		long long position = DatumGetInt64(exec_value(0, 2, &isnull));
		MemoryContext own = MemoryContextSwitchTo(caller);

		held->detail = psprintf("Process manager \"%s\" has parked the event at position %lld.",
								name, position);
		held->hint = psprintf("Call pm.retry or pm.discard, or SELECT pm.keep_parked(%s, %lld), "
							  "which copies the events that are parked up to there.",
							  quote_literal_cstr(log), (long long) up_to);
		MemoryContextSwitchTo(own);
	}
	exec_end(&scope);
	return found;
}

bool
held_by(const char *log, int64 from, int64 up_to, Held *held)
{
	return held_by_cursor(log, up_to, held) || held_by_parked(log, from, up_to, held);
}

void
held_lock(Oid relid)
{
	LockDatabaseObject(exec_catalog_relid("log"), relid, 0, ShareLock);
}

bool
held_slowest(const char *log, int64 *position)
{
	static ExecStatement slowest = {NULL,
									"SELECT pg_catalog.min(position) FROM pm_catalog.cursor "
									"WHERE log OPERATOR(pg_catalog.=) $1",
									1,
									{TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};
	ExecScope scope;
	bool isnull;

	exec_begin_owner(&scope);
	(void) exec_statement(&slowest, values, NULL);
	*position = DatumGetInt64(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return !isnull;
}
