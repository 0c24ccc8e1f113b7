/*
 * erase_kept.c
 *		What process managers have kept of erased events.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/erase_kept.h"

/* What replaces the messages of errors. */
#define ERASE_MESSAGE "'(erased)'"

/* Does a row belong to one of the process managers? */
#define ERASE_OF "process_manager OPERATOR(pg_catalog.=) ANY ($4)"

/*
 * Is one of the events the cause of a row, by the row's metadata?  With IS TRUE, the positions
 * are hashed once: there may be as many rows as positions.
 */
#define ERASE_CAUSED                                                                               \
	"metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'log' "                 \
	"OPERATOR(pg_catalog.=) $1 AND "                                                               \
	"(metadata OPERATOR(pg_catalog.->) 'causation' OPERATOR(pg_catalog.->>) 'position' "           \
	"OPERATOR(pg_catalog.=) ANY (SELECT u::pg_catalog.text FROM pg_catalog.unnest($2) u)) IS TRUE "

/*
 * The instances that have handled one of the events, and the journal's first such
 * entry.
 */
#define ERASE_LIVES                                                                                \
	"(SELECT process_manager, key, started_at, pg_catalog.min(id) AS first "                       \
	"FROM pm_catalog.journal WHERE " ERASE_OF " AND log OPERATOR(pg_catalog.=) $1 "                \
	"AND position OPERATOR(pg_catalog.=) ANY ($2) GROUP BY process_manager, key, started_at) h "

bool
erase_follows(const ProcessManager *pm, const char *log)
{
	ListCell *lc;

	foreach(lc, pm->logs)
		if (strcmp(lfirst(lc), log) == 0)
			return true;
	return false;
}

/*
 * The names of process managers as an array.
 */
static Datum
erase_names(List *managers)
{
	Datum *names = palloc(sizeof(Datum) * Max(list_length(managers), 1));
	ListCell *lc;

	foreach(lc, managers)
		names[foreach_current_index(lc)] = CStringGetTextDatum(
			((ProcessManager *) lfirst(lc))->name);
	return PointerGetDatum(
		construct_array(names, list_length(managers), TEXTOID, -1, false, TYPALIGN_INT));
}

void
erase_kept(List *managers, const char *log, Datum positions, Datum replacement)
{
	static ExecStatement statements[] = {
		/* First the ended instances, because instances are found by their journals. */
		{NULL,
		 "UPDATE pm_catalog.ended e SET state = CASE WHEN e.state IS NOT NULL THEN $3 END, "
		 "result = CASE WHEN e.result IS NOT NULL THEN $3 END FROM " ERASE_LIVES
		 "WHERE e.process_manager OPERATOR(pg_catalog.=) h.process_manager "
		 "AND e.key OPERATOR(pg_catalog.=) h.key "
		 "AND e.started_at OPERATOR(pg_catalog.=) h.started_at",
		 4,
		 {TEXTOID, INT8ARRAYOID, JSONBOID, TEXTARRAYOID}},
		/* A state depends on all events so far. */
		{NULL,
		 "UPDATE pm_catalog.journal j SET state = $3 FROM " ERASE_LIVES
		 "WHERE j.process_manager OPERATOR(pg_catalog.=) h.process_manager "
		 "AND j.key OPERATOR(pg_catalog.=) h.key "
		 "AND j.started_at OPERATOR(pg_catalog.=) h.started_at "
		 "AND j.id OPERATOR(pg_catalog.>=) h.first AND j.state OPERATOR(pg_catalog.<>) $3",
		 4,
		 {TEXTOID, INT8ARRAYOID, JSONBOID, TEXTARRAYOID}},
		{NULL,
		 "UPDATE pm_catalog.sent SET data = $3 WHERE " ERASE_OF " AND " ERASE_CAUSED,
		 4,
		 {TEXTOID, INT8ARRAYOID, JSONBOID, TEXTARRAYOID}},
		{NULL,
		 "UPDATE pm_catalog.parked SET data = CASE WHEN log IS NULL THEN $3 END, "
		 "message = CASE WHEN message IS NOT NULL THEN " ERASE_MESSAGE " END, "
		 "detail = NULL, context = NULL, error_hint = NULL "
		 "WHERE " ERASE_OF " AND ((log OPERATOR(pg_catalog.=) $1 "
		 "AND position OPERATOR(pg_catalog.=) ANY ($2)) OR (log IS NULL AND " ERASE_CAUSED "))",
		 4,
		 {TEXTOID, INT8ARRAYOID, JSONBOID, TEXTARRAYOID}},
		/* If a lane has failed at a timer, its position is the timer's id. */
		{NULL,
		 "WITH t AS (UPDATE pm_catalog.timer SET data = $3 WHERE " ERASE_OF " AND " ERASE_CAUSED
		 " RETURNING process_manager, id) "
		 "UPDATE pm_catalog.lane l SET "
		 "message = CASE WHEN l.message IS NOT NULL THEN " ERASE_MESSAGE " END, "
		 "detail = NULL, context = NULL, error_hint = NULL "
		 "WHERE l." ERASE_OF " AND ((l.log OPERATOR(pg_catalog.=) $1 "
		 "AND l.position OPERATOR(pg_catalog.=) ANY ($2)) "
		 "OR (l.log IS NULL AND EXISTS (SELECT FROM t "
		 "WHERE t.process_manager OPERATOR(pg_catalog.=) l.process_manager "
		 "AND t.id OPERATOR(pg_catalog.=) l.position)))",
		 4,
		 {TEXTOID, INT8ARRAYOID, JSONBOID, TEXTARRAYOID}},
	};
	Datum values[4] = {CStringGetTextDatum(log), positions, replacement, erase_names(managers)};

	if (managers == NIL)
		return;

	for (int i = 0; i < lengthof(statements); i++)
		(void) exec_as_owner(&statements[i], values, NULL);
}

static void *
erase_form_found(uint64 row)
{
	EraseFound *found = palloc(sizeof(EraseFound));
	bool isnull;

	found->name = exec_text(row, 1);
	found->journal = DatumGetBool(exec_value(row, 2, &isnull));
	return found;
}

List *
erase_find(const char *log, Datum positions, Datum replacement)
{
	/*
	 * Journals are not compared with the replacement, because the next entry contains what the
	 * state of the instance still contains.
	 */
	static ExecStatement find = {NULL,
								 "SELECT process_manager, true FROM pm_catalog.journal "
								 "WHERE log OPERATOR(pg_catalog.=) $1 "
								 "AND position OPERATOR(pg_catalog.=) ANY ($2) "
								 "UNION SELECT process_manager, false FROM pm_catalog.sent "
								 "WHERE data OPERATOR(pg_catalog.<>) $3 AND " ERASE_CAUSED
								 "UNION SELECT process_manager, false FROM pm_catalog.timer "
								 "WHERE data OPERATOR(pg_catalog.<>) $3 AND " ERASE_CAUSED
								 "UNION SELECT process_manager, false FROM pm_catalog.parked "
								 "WHERE log IS NULL AND data OPERATOR(pg_catalog.<>) $3 "
								 "AND " ERASE_CAUSED,
								 3,
								 {TEXTOID, INT8ARRAYOID, JSONBOID}};
	Datum values[3] = {CStringGetTextDatum(log), positions, replacement};

	return exec_list(&find, values, NULL, erase_form_found);
}
