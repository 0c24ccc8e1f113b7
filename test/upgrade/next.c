/*
 * next.c
 *		What the next version adds, for test/t/210_upgrade.pl.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/version.h"
#include "manager/next.h"
#include "manager/registration.h"

PG_FUNCTION_INFO_V1(pm_next_feature);
PG_FUNCTION_INFO_V1(pm_next_note);

Datum
pm_next_feature(PG_FUNCTION_ARGS)
{
	version_require(PM_VERSION, "pm.next_feature");
	PG_RETURN_TEXT_P(cstring_to_text("the next version"));
}

/*
 * Reads the new column of a process manager.
 */
Datum
pm_next_note(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Registration row;
	ExecScope scope;
	text *note = NULL;

	exec_begin_owner(&scope);
	if (registration_select(REGISTRATION_BY_NAME, PG_GETARG_DATUM(0)) == 1)
	{
		MemoryContext spi;

		registration_read(&row, 0);
		spi = MemoryContextSwitchTo(caller);
		if (!row.nulls[REGISTRATION_NEXT_NOTE])
			note = DatumGetTextPCopy(row.values[REGISTRATION_NEXT_NOTE]);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	if (note == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(note);
}

void
next_set_note(const char *manager, const char *note)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager SET next_note = $2 "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		2,
		{TEXTOID, TEXTOID},
	};
	Datum values[2] = {CStringGetTextDatum(manager), CStringGetTextDatum(note)};

	(void) exec_as_owner(&update, values, NULL);
}

void
next_batch(const char *manager, int handled)
{
	static ExecStatement insert = {
		NULL,
		"INSERT INTO pm_catalog.next_batch VALUES ($1, $2)",
		2,
		{TEXTOID, INT4OID},
	};
	Datum values[2] = {CStringGetTextDatum(manager), Int32GetDatum(handled)};

	if (version_has(PM_VERSION))
		(void) exec_as_owner(&insert, values, NULL);
}
