/*
 * kept.c
 *		Counts and deletes what a process manager keeps for its keys.
 *
 * These are instances, timers and parked events, and also ended instances and journals.  All
 * of these result from the events that were handled so far, with the handler and the
 * correlate function that the process manager had then.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/version.h"
#include "manager/kept.h"

#define KEPT_COUNT(more)                                                                           \
	"SELECT "                                                                                      \
	"(SELECT pg_catalog.count(*) FROM pm_catalog.instance "                                        \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1), "                                           \
	"(SELECT pg_catalog.count(*) FROM pm_catalog.timer "                                           \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1)" more ", "                                   \
	"(SELECT pg_catalog.count(*) FROM pm_catalog.parked "                                          \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1)"

#define KEPT_COUNT_SENT                                                                            \
	" OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM pm_catalog.sent "                    \
	"WHERE process_manager OPERATOR(pg_catalog.=) $1)"

/*
 * Counts all of it.  What was sent to instances counts as timers.
 */
Kept
kept_count(const char *manager)
{
	/*
	 * Only the second statement counts what was sent to instances, which version 0.1.0
	 * does not have.
	 */
	static ExecStatement count_kept[] = {
		{NULL, KEPT_COUNT(""), 1, {TEXTOID}},
		{NULL, KEPT_COUNT(KEPT_COUNT_SENT), 1, {TEXTOID}},
	};
	Kept kept;
	ExecScope scope;
	Datum values[1] = {CStringGetTextDatum(manager)};
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(&count_kept[version_has("0.2.0")], values, NULL);
	kept.instances = DatumGetInt64(exec_value(0, 1, &isnull));
	kept.timers = DatumGetInt64(exec_value(0, 2, &isnull));
	kept.parked = DatumGetInt64(exec_value(0, 3, &isnull));
	exec_end(&scope);
	return kept;
}

bool
kept_any(const Kept *kept)
{
	return kept->instances + kept->timers + kept->parked > 0;
}

/*
 * Deletes all of it, and also associations, and what is kept of ended instances.
 */
void
kept_delete(const char *manager)
{
	static ExecStatement delete_kept = {
		NULL,
		"WITH i AS (DELETE FROM pm_catalog.instance "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"t AS (DELETE FROM pm_catalog.timer "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM pm_catalog.parked "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	static ExecStatement delete_past = {
		NULL,
		"WITH e AS (DELETE FROM pm_catalog.ended "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"a AS (DELETE FROM pm_catalog.association "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"s AS (DELETE FROM pm_catalog.sent "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM pm_catalog.journal "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};

	(void) exec_as_owner(&delete_kept, values, NULL);
	/* Version 0.1.0 of the extension has no such tables. */
	if (version_has("0.2.0"))
		(void) exec_as_owner(&delete_past, values, NULL);
}
