/*
 * function_owner.c
 *		Records the owners that the functions of a process manager had when they were accepted.
 *
 * A handler runs with the rights of the process manager's owner.  So a function is not
 * called if it now belongs to another role that does not have those rights itself
 * (handler_check.c).  The owner that the function had when it was accepted is in the
 * registration.  pm.register writes it with the other columns; this file contains the
 * other functions that change it.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "manager/function_owner.h"

/*
 * The functions are accepted as they are.  One that is missing has no owner.
 */
void
function_owner_record(const char *manager)
{
	static ExecStatement record = {
		NULL,
		"UPDATE pm_catalog.process_manager m SET "
		"handler_owner = (SELECT p.proowner FROM pg_catalog.pg_proc p "
		"WHERE p.oid OPERATOR(pg_catalog.=) "
		"pg_catalog.to_regprocedure(m.handler)::pg_catalog.oid), "
		"correlate_owner = (SELECT p.proowner FROM pg_catalog.pg_proc p "
		"WHERE p.oid OPERATOR(pg_catalog.=) "
		"pg_catalog.to_regprocedure(m.correlate)::pg_catalog.oid) "
		"WHERE m.name OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};

	(void) exec_as_owner(&record, values, NULL);
}

/*
 * No superuser has accepted the functions so far.
 */
void
function_owner_forget(const char *manager)
{
	static ExecStatement forget = {
		NULL,
		"UPDATE pm_catalog.process_manager SET handler_owner = NULL, correlate_owner = NULL "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};

	(void) exec_as_owner(&forget, values, NULL);
}
