/*
 * kept_event.c
 *		Copies of parked events, which are made before their logs lose them.
 *
 * What is parked is a reference (park.c).  Before events are deleted, or their partition is
 * dropped, pm.keep_parked copies those that are parked.  A parked event that is gone from its
 * log is read from its copy.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/scan.h"
#include "log/kept_event.h"

/* The columns are those of an event, in their order. */
#define KEPT_EVENT_TABLE "kept_event"

bool
kept_event_exists(void)
{
	return OidIsValid(exec_catalog_relid(KEPT_EVENT_TABLE));
}

/*
 * Is the value of this attribute one that must be copied?
 */
static bool
kept_event_is_varlena(int attribute)
{
	return attribute != EVENT_POSITION && attribute != EVENT_VERSION &&
		   attribute != EVENT_RECORDED_AT;
}

bool
kept_event_find(const char *log, int64 position, EventFields *event)
{
	RowScan scan;
	bool found;

	if (!kept_event_exists())
		return false;
	scan_begin(&scan, KEPT_EVENT_TABLE, "kept_event_pkey", AccessShareLock);
	scan_where_text(&scan, EVENT_LOG, log);
	scan_where_int8(&scan, EVENT_POSITION, position);
	found = scan_next(&scan);
	for (int i = 0; found && i < EVENT_ATTRIBUTES; i++)
	{
		event->nulls[i] = scan.nulls[i];
		event->values[i] = scan.values[i];
		if (!scan.nulls[i] && kept_event_is_varlena(i + 1))
			event->values[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(scan.values[i]));
	}
	scan_end(&scan);
	return found;
}

void
kept_event_add(const EventFields *event)
{
	static ExecStatement add =
		{NULL,
		 "INSERT INTO pm_catalog.kept_event "
		 "(log, position, stream, version, type, data, metadata, recorded_at) "
		 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (log, position) DO NOTHING",
		 EVENT_ATTRIBUTES,
		 {TEXTOID, INT8OID, TEXTOID, INT8OID, TEXTOID, JSONBOID, JSONBOID, TIMESTAMPTZOID}};
	Datum values[EVENT_ATTRIBUTES];
	char nulls[EVENT_ATTRIBUTES];

	for (int i = 0; i < EVENT_ATTRIBUTES; i++)
	{
		values[i] = event->values[i];
		nulls[i] = event->nulls[i] ? 'n' : ' ';
	}
	(void) exec_as_owner(&add, values, nulls);
}

Datum
kept_event_erase(const char *log, Datum stream, Datum replacement, int *count)
{
	static ExecStatement erase = {NULL,
								  "UPDATE pm_catalog.kept_event SET data = $3 "
								  "WHERE log OPERATOR(pg_catalog.=) $1 "
								  "AND stream OPERATOR(pg_catalog.=) $2 RETURNING position",
								  3,
								  {TEXTOID, TEXTOID, JSONBOID}};
	Datum values[3] = {CStringGetTextDatum(log), stream, replacement};
	MemoryContext caller = CurrentMemoryContext;
	Datum *positions;
	ExecScope scope;

	*count = 0;
	if (!kept_event_exists())
		return PointerGetDatum(construct_empty_array(INT8OID));
	exec_begin_owner(&scope);
	*count = (int) exec_statement(&erase, values, NULL);
	positions = MemoryContextAlloc(caller, sizeof(Datum) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		bool isnull;

		positions[i] = exec_value(i, 1, &isnull);
	}
	exec_end(&scope);
	return PointerGetDatum(construct_array(positions, *count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void
kept_event_forget(const char *log)
{
	static ExecStatement forget = {NULL,
								   "DELETE FROM pm_catalog.kept_event "
								   "WHERE log OPERATOR(pg_catalog.=) $1",
								   1,
								   {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};

	if (kept_event_exists())
		(void) exec_as_owner(&forget, values, NULL);
}

void
kept_event_tidy(const char *log)
{
	static ExecStatement tidy = {NULL,
								 "DELETE FROM pm_catalog.kept_event k "
								 "WHERE k.log OPERATOR(pg_catalog.=) $1 AND NOT EXISTS "
								 "(SELECT FROM pm_catalog.parked p WHERE p.log "
								 "OPERATOR(pg_catalog.=) k.log AND p.position "
								 "OPERATOR(pg_catalog.=) k.position)",
								 1,
								 {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(log)};

	(void) exec_as_owner(&tidy, values, NULL);
}
