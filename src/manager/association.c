/*
 * association.c
 *		Finds instances by something other than their keys.
 *
 * For example, a package knows the items in it, and an order must learn that its package
 * was delivered.  When the handler of the order sees which package its items are in, it
 * calls pm.associate('package', ...), and when the package is delivered, correlate asks
 * pm.associated('package', ...) for the keys.
 *
 * Associations are rows of pm_catalog.association, which are written at once.  So a
 * correlate function sees those that the handlers of earlier events in its batch have
 * made, and what is undone is undone with them.  The keys of a batch must not be computed
 * in advance then: that is only done if correlate is IMMUTABLE, and such a function may
 * not call pm.associated.  With several lanes no function may call it, since the answer
 * would depend on how far other lanes are.
 *
 * Assumes that only the unit's own handlers write the rows of its keys, while the batch
 * holds the unit's lock.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "base/exec.h"
#include "base/key.h"
#include "base/version.h"
#include "base/within.h"
#include "manager/association.h"
#include "manager/head.h"
#include "manager/lane.h"

PG_FUNCTION_INFO_V1(pm_associate);
PG_FUNCTION_INFO_V1(pm_dissociate);
PG_FUNCTION_INFO_V1(pm_associated);

/* The longest kind, in bytes: kind, value and key must fit into one row of an index. */
#define ASSOCIATION_KIND_MAX 200

static int current_lanes;
static bool keys_foretold;
static bool was_made = false;

void
association_enter(ProcessManager *pm, bool foretold)
{
	current_lanes = pm->lanes;
	keys_foretold = foretold;
	was_made = false;
}

void
association_begin(void)
{
	was_made = false;
}

bool
association_was_made(void)
{
	return was_made;
}

bool
association_exists(ProcessManager *pm, const char *key)
{
	static ExecStatement any_association =
		{NULL,
		 "SELECT FROM pm_catalog.association WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND key OPERATOR(pg_catalog.=) $2 LIMIT 1",
		 2,
		 {TEXTOID, TEXTOID}};
	Datum values[2];

	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key);
	return exec_as_owner(&any_association, values, NULL) > 0;
}

void
association_end(ProcessManager *pm, int lane, const char *key)
{
	static ExecStatement delete_associations =
		{NULL,
		 "DELETE FROM pm_catalog.association WHERE process_manager OPERATOR(pg_catalog.=) $1 "
		 "AND key OPERATOR(pg_catalog.=) $2",
		 2,
		 {TEXTOID, TEXTOID}};
	Datum values[2];

	/* Each instance that ends comes here, and most process managers have no association. */
	if (!version_has("0.2.0") || !head_association(pm->name, lane))
		return;
	values[0] = CStringGetTextDatum(pm->name);
	values[1] = CStringGetTextDatum(key);
	(void) exec_as_owner(&delete_associations, values, NULL);
}

/* ---------- what handlers call ---------- */

/*
 * The arguments of a statement: the process manager, the kind, the value as it is stored,
 * and the key if there is one.
 */
static void
association_args(FunctionCallInfo fcinfo, Datum *values, const char *key)
{
	text *kind;

	argument_not_null(fcinfo, 0, "kind");
	argument_not_null(fcinfo, 1, "value");
	kind = PG_GETARG_TEXT_PP(0);
	if (VARSIZE_ANY_EXHDR(kind) == 0 || VARSIZE_ANY_EXHDR(kind) > ASSOCIATION_KIND_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid kind of association"),
				 errdetail("A kind has 1 to %d bytes.", ASSOCIATION_KIND_MAX)));
	values[0] = CStringGetTextDatum(within_manager());
	values[1] = PG_GETARG_DATUM(0);
	values[2] = CStringGetTextDatum(key_stored(PG_GETARG_DATUM(1)));
	if (key != NULL)
		values[3] = CStringGetTextDatum(key);
}

/*
 * pm.associate(kind, value)
 */
Datum
pm_associate(PG_FUNCTION_ARGS)
{
	static ExecStatement insert_association =
		{NULL,
		 "INSERT INTO pm_catalog.association (process_manager, kind, value, key) "
		 "SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM pm_catalog.association "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) $2 "
		 "AND value OPERATOR(pg_catalog.=) $3 AND key OPERATOR(pg_catalog.=) $4)",
		 4,
		 {TEXTOID, TEXTOID, TEXTOID, TEXTOID}};
	int lane;
	const char *key = within_instance("pm.associate", &lane);
	Datum values[4];

	exec_require_writable("pm.associate");
	association_args(fcinfo, values, key);
	(void) exec_as_owner(&insert_association, values, NULL);
	was_made = true;
	head_add_association(within_manager(), lane);
	lane_touch(within_manager(), lane);
	PG_RETURN_VOID();
}

/*
 * pm.dissociate(kind, value)
 */
Datum
pm_dissociate(PG_FUNCTION_ARGS)
{
	static ExecStatement delete_association =
		{NULL,
		 "DELETE FROM pm_catalog.association "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) $2 "
		 "AND value OPERATOR(pg_catalog.=) $3 AND key OPERATOR(pg_catalog.=) $4",
		 4,
		 {TEXTOID, TEXTOID, TEXTOID, TEXTOID}};
	int lane;
	const char *key = within_instance("pm.dissociate", &lane);
	Datum values[4];

	exec_require_writable("pm.dissociate");
	association_args(fcinfo, values, key);
	PG_RETURN_BOOL(exec_as_owner(&delete_association, values, NULL) > 0);
}

static void
association_require_caller(void)
{
	if (!within_handler() || InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pm.associated can only be called by a correlate function or a handler"),
				 errhint("It returns keys of the process manager that calls it.")));
	if (current_lanes > 1)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("pm.associated cannot be used with several lanes"),
						errdetail("Its result depends on how far the other lanes are."),
						errhint("Register \"%s\" with lanes => 1.", within_manager())));
	if (keys_foretold && within_correlates())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("a correlate function that calls pm.associated must not be IMMUTABLE"),
				 errdetail("The keys of several events are computed before their handlers run."),
				 errhint("Declare it STABLE: ALTER FUNCTION ... STABLE.")));
}

static void *
association_form(uint64 row)
{
	return exec_text(row, 1);
}

/*
 * pm.associated(kind, value)
 */
Datum
pm_associated(PG_FUNCTION_ARGS)
{
	static ExecStatement select_keys =
		{NULL,
		 "SELECT key FROM pm_catalog.association "
		 "WHERE process_manager OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) $2 "
		 "AND value OPERATOR(pg_catalog.=) $3 ORDER BY key",
		 3,
		 {TEXTOID, TEXTOID, TEXTOID}};
	Datum values[4];
	Datum *keys;
	List *found;
	ListCell *lc;
	int count = 0;

	association_require_caller();
	association_args(fcinfo, values, NULL);
	found = exec_list(&select_keys, values, NULL, association_form);
	keys = palloc(sizeof(Datum) * Max(list_length(found), 1));
	foreach(lc, found)
		keys[count++] = CStringGetTextDatum(lfirst(lc));
	PG_RETURN_ARRAYTYPE_P(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
}
