/*
 * history.c
 *		pm.history: what one instance has been through, why it waits, and what will happen next.
 *
 * That is the journal of all instances that the key has had, and then what is parked,
 * what was sent to it and is not handled yet, and the timers that it has set.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/exec.h"
#include "base/key.h"
#include "base/version.h"
#include "manager/registry.h"

PG_FUNCTION_INFO_V1(pm_history);

/* The columns of the result, and the two by which it is ordered. */
#define HISTORY_COLUMNS 14

/* The name that the log of a row has now. */
#define HISTORY_NAME_OF_J                                                                          \
	"coalesce((SELECT n.title FROM pm_catalog.log n "                                              \
	"WHERE n.name OPERATOR(pg_catalog.=) j.log), j.log) AS log"
#define HISTORY_NAME_OF_K                                                                          \
	"coalesce((SELECT n.title FROM pm_catalog.log n "                                              \
	"WHERE n.name OPERATOR(pg_catalog.=) k.log), k.log)"

/*
 * What has not happened yet has no started_at, seq and state.  Its handled_at is when it is to be
 * handled, as far as that is known: what has failed is not tried again while the process manager
 * is stopped.
 */
#define HISTORY_JOURNAL                                                                            \
	"SELECT j.process_manager, j.key, j.started_at, j.seq, " HISTORY_NAME_OF_J                     \
	", j.position, j.type, "                                                                       \
	"j.handled_at, j.state, coalesce(j.appended, '[]') AS appended, "                              \
	"coalesce(j.timers, '[]') AS timers, j.by, j.reason, 'handled' AS status, "                    \
	"1 AS part, j.id, NULL::pg_catalog.timestamptz AS due FROM pm_catalog.journal j "              \
	"WHERE j.process_manager OPERATOR(pg_catalog.=) $1 AND j.key OPERATOR(pg_catalog.=) $2 "

#define HISTORY_PARKED                                                                             \
	"SELECT k.process_manager, k.key, NULL, NULL, " HISTORY_NAME_OF_K ", "                         \
	"CASE WHEN k.log IS NULL THEN k.id ELSE k.position END, "                                      \
	"CASE WHEN k.log IS NULL THEN k.type "                                                         \
	"ELSE (pm_catalog.parked_event(k.log, k.position, $3)).type END, "                             \
	"CASE WHEN $5 OR EXISTS (SELECT FROM pm_catalog.lane l "                                       \
	"WHERE l.process_manager OPERATOR(pg_catalog.=) $1 AND l.lane OPERATOR(pg_catalog.=) $4 "      \
	"AND l.state OPERATOR(pg_catalog.=) 'halted') THEN NULL "                                      \
	"WHEN k.retry_at OPERATOR(pg_catalog.=) '-infinity' THEN k.parked_at ELSE k.retry_at END, "    \
	"NULL, '[]', '[]', "                                                                           \
	"k.metadata OPERATOR(pg_catalog.->>) 'sent_by', k.message, k.state, 2, k.id, NULL "            \
	"FROM pm_catalog.parked k WHERE k.process_manager OPERATOR(pg_catalog.=) $1 "                  \
	"AND k.lane OPERATOR(pg_catalog.=) $4 AND k.key OPERATOR(pg_catalog.=) $2 "

/* What was sent: first what is among the timers already. */
#define HISTORY_TIMER                                                                              \
	"SELECT t.process_manager, t.key, NULL, NULL, NULL, NULL, t.type, t.due, NULL, '[]', '[]', "   \
	"CASE WHEN t.sent THEN t.metadata OPERATOR(pg_catalog.->>) 'sent_by' END, NULL, "              \
	"CASE WHEN t.sent THEN 'pending' ELSE 'timer' END, "                                           \
	"CASE WHEN t.sent THEN 3 ELSE 5 END, t.id, CASE WHEN NOT t.sent THEN t.due END "               \
	"FROM pm_catalog.timer t WHERE t.process_manager OPERATOR(pg_catalog.=) $1 "                   \
	"AND t.key OPERATOR(pg_catalog.=) $2 "

#define HISTORY_SENT                                                                               \
	"SELECT s.process_manager, s.key, NULL, NULL, NULL, NULL, s.type, s.sent_at, NULL, "           \
	"'[]', '[]', s.metadata OPERATOR(pg_catalog.->>) 'sent_by', NULL, 'pending', 4, s.id, NULL "   \
	"FROM pm_catalog.sent s WHERE s.process_manager OPERATOR(pg_catalog.=) $1 "                    \
	"AND s.key OPERATOR(pg_catalog.=) $2 "

/*
 * pm.history(name, key)
 */
Datum
pm_history(PG_FUNCTION_ARGS)
{
	static ExecStatement history = {NULL,
									HISTORY_JOURNAL
									"UNION ALL " HISTORY_PARKED "UNION ALL " HISTORY_TIMER
									"UNION ALL " HISTORY_SENT "ORDER BY part, due, id",
									5,
									{TEXTOID, TEXTOID, OIDOID, INT4OID, BOOLOID}};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ProcessManager *pm;
	ExecScope scope;
	Datum values[5];
	char *key;
	uint64 count;

	InitMaterializedSRF(fcinfo, 0);
	version_require("0.2.0", "pm.history");
	pm = registry_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	registry_require_owner(pm);
	key = key_stored_name(PG_GETARG_DATUM(1));
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key);
	values[2] = ObjectIdGetDatum(pm->owner);
	values[3] = Int32GetDatum((int) (key_hash(key, strlen(key)) % (uint32) pm->lanes));
	values[4] = BoolGetDatum(pm->paused || !pm->at_home);
	exec_begin_owner(&scope);
	count = exec_statement(&history, values, NULL);
	for (uint64 row = 0; row < count; row++)
	{
		Datum columns[HISTORY_COLUMNS];
		bool nulls[HISTORY_COLUMNS];

		for (int i = 0; i < HISTORY_COLUMNS; i++)
			columns[i] = exec_value(row, i + 1, &nulls[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, columns, nulls);
	}
	exec_end(&scope);
	return (Datum) 0;
}
