/*
 * registration.c
 *		Reads and writes rows of pm_catalog.process_manager.
 *
 * The table has many columns, and pm.register takes most of them as arguments.
 * So the names of the columns are listed once, in registration_columns[], and
 * the statements that read and write whole rows are built from this list.
 * Functions that change single columns have statements of their own.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "manager/registration.h"

#define REGISTRATION_TABLE "pm_catalog.process_manager"

/* What writes a column. */
typedef enum RegistrationWrites
{
	/* Not written by pm.register: it has a default, or another function writes it. */
	REGISTRATION_OTHERS,
	/* Written by pm.register when it adds the process manager. */
	REGISTRATION_ADDED,
	/* Also written by pm.register when it changes the process manager. */
	REGISTRATION_SETTING
} RegistrationWrites;

static const struct
{
	const char *name;
	Oid type;
	RegistrationWrites writes;
} registration_columns[] = {
	[REGISTRATION_ID] = {"id", INT4OID, REGISTRATION_OTHERS},
	[REGISTRATION_NAME] = {"name", TEXTOID, REGISTRATION_ADDED},
	[REGISTRATION_OWNER] = {"owner", OIDOID, REGISTRATION_ADDED},
	[REGISTRATION_OWNER_NAME] = {"owner_name", NAMEOID, REGISTRATION_ADDED},
	[REGISTRATION_HANDLER] = {"handler", TEXTOID, REGISTRATION_SETTING},
	[REGISTRATION_HANDLER_KIND] = {"handler_kind", CHAROID, REGISTRATION_SETTING},
	[REGISTRATION_HANDLER_OWNER] = {"handler_owner", OIDOID, REGISTRATION_SETTING},
	[REGISTRATION_CORRELATE] = {"correlate", TEXTOID, REGISTRATION_SETTING},
	[REGISTRATION_CORRELATE_OWNER] = {"correlate_owner", OIDOID, REGISTRATION_SETTING},
	[REGISTRATION_LOGS] = {"logs", TEXTARRAYOID, REGISTRATION_OTHERS},
	[REGISTRATION_TYPES] = {"types", TEXTARRAYOID, REGISTRATION_SETTING},
	[REGISTRATION_ON_FAILURE] = {"on_failure", TEXTOID, REGISTRATION_SETTING},
	[REGISTRATION_MAX_ATTEMPTS] = {"max_attempts", INT4OID, REGISTRATION_SETTING},
	[REGISTRATION_BACKOFF] = {"backoff", INTERVALOID, REGISTRATION_SETTING},
	[REGISTRATION_HANDLER_TIMEOUT] = {"handler_timeout", INTERVALOID, REGISTRATION_SETTING},
	[REGISTRATION_BATCH_SIZE] = {"batch_size", INT4OID, REGISTRATION_SETTING},
	[REGISTRATION_LANES] = {"lanes", INT4OID, REGISTRATION_SETTING},
	[REGISTRATION_PARK_LIMIT] = {"park_limit", INT4OID, REGISTRATION_SETTING},
	[REGISTRATION_PAUSED] = {"paused", BOOLOID, REGISTRATION_OTHERS},
	[REGISTRATION_SYSTEM_IDENTIFIER] = {"system_identifier", INT8OID, REGISTRATION_ADDED},
	[REGISTRATION_DATABASE] = {"database", OIDOID, REGISTRATION_ADDED},
	[REGISTRATION_KEEP_ENDED] = {"keep_ended", INTERVALOID, REGISTRATION_SETTING},
	[REGISTRATION_JOURNAL] = {"journal", BOOLOID, REGISTRATION_SETTING},
};

StaticAssertDecl(lengthof(registration_columns) == REGISTRATION_COLUMNS,
				 "registration_columns[] must have all columns");

/*
 * Completes a statement with its text, which lives as long as the backend.
 */
static void
registration_finish(ExecStatement *statement, StringInfo sql)
{
	statement->sql = MemoryContextStrdup(TopMemoryContext, sql->data);
	pfree(sql->data);
}

/*
 * Adds a parameter of a column's type to a statement.  Returns its number.
 */
static int
registration_parameter(ExecStatement *statement, RegistrationColumn column)
{
	Assert(statement->nargs < EXEC_MAX_ARGS);
	statement->argtypes[statement->nargs++] = registration_columns[column].type;
	return statement->nargs;
}

/* ---------- reading ---------- */

/*
 * Builds a query for rows.  There is one for each kind of condition, so that
 * each can use an index.
 */
static void
registration_make_select(ExecStatement *statement, RegistrationWhich which)
{
	StringInfoData sql;

	statement->nargs = 0;
	initStringInfo(&sql);
	for (int i = 0; i < REGISTRATION_COLUMNS; i++)
		appendStringInfo(&sql, "%s %s", i == 0 ? "SELECT" : ",", registration_columns[i].name);
	appendStringInfoString(&sql, " FROM " REGISTRATION_TABLE);
	if (which == REGISTRATION_BY_OWNER)
		appendStringInfo(&sql, " WHERE owner OPERATOR(pg_catalog.=) $%d",
						 registration_parameter(statement, REGISTRATION_OWNER));
	if (which == REGISTRATION_BY_NAME)
		appendStringInfo(&sql, " WHERE name OPERATOR(pg_catalog.=) $%d",
						 registration_parameter(statement, REGISTRATION_NAME));
	else
		appendStringInfoString(&sql, " ORDER BY id");
	registration_finish(statement, &sql);
}

/*
 * Finds rows.  Returns their number.  They live as long as the scope, in which
 * no other statement may run before they have been read.
 */
uint64
registration_select(RegistrationWhich which, Datum key)
{
	static ExecStatement statements[REGISTRATION_BY_NAME + 1];
	ExecStatement *statement = &statements[which];

	if (statement->sql == NULL)
		registration_make_select(statement, which);
	return exec_statement(statement, &key, NULL);
}

/*
 * Takes a row of the result apart.
 */
void
registration_read(Registration *registration, uint64 row)
{
	for (int i = 0; i < REGISTRATION_COLUMNS; i++)
		registration->values[i] = exec_value(row, i + 1, &registration->nulls[i]);
}

bool
registration_copy(const char *name, Registration *registration)
{
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	bool found;

	exec_begin_owner(&scope);
	found = registration_select(REGISTRATION_BY_NAME, CStringGetTextDatum(name)) > 0;
	if (found)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		registration_read(registration, 0);
		for (int i = 0; i < REGISTRATION_COLUMNS; i++)
		{
			int16 len;
			bool byval;

			get_typlenbyval(registration_columns[i].type, &len, &byval);
			if (!registration->nulls[i])
				registration->values[i] = datumCopy(registration->values[i], byval, len);
		}
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	return found;
}

/* ---------- writing ---------- */

/*
 * Runs a statement whose parameters are the columns that are written this way,
 * in their order.
 */
static bool
registration_write(ExecStatement *statement, const Registration *registration,
				   RegistrationWrites least)
{
	Datum values[EXEC_MAX_ARGS];
	char nulls[EXEC_MAX_ARGS];
	int count = 0;

	for (int i = 0; i < REGISTRATION_COLUMNS; i++)
	{
		if (registration_columns[i].writes < least && i != REGISTRATION_NAME)
			continue;
		values[count] = registration->values[i];
		nulls[count++] = registration->nulls[i] ? 'n' : ' ';
	}
	Assert(count == statement->nargs);
	return exec_as_owner(statement, values, nulls) == 1;
}

/*
 * Adds a row.  If another session is about to add one of the name, this waits
 * for its end, and for nothing else.
 */
bool
registration_insert(const Registration *registration)
{
	static ExecStatement insert;

	if (insert.sql == NULL)
	{
		StringInfoData sql;
		StringInfoData parameters;

		insert.nargs = 0;
		initStringInfo(&sql);
		initStringInfo(&parameters);
		appendStringInfoString(&sql, "INSERT INTO " REGISTRATION_TABLE);
		for (int i = 0; i < REGISTRATION_COLUMNS; i++)
		{
			const char *separator = insert.nargs == 0 ? " (" : ", ";

			if (registration_columns[i].writes < REGISTRATION_ADDED)
				continue;
			appendStringInfo(&sql, "%s%s", separator, registration_columns[i].name);
			appendStringInfo(&parameters, "%s$%d", separator, registration_parameter(&insert, i));
		}
		appendStringInfo(&sql, ") VALUES%s) ON CONFLICT (name) DO NOTHING", parameters.data);
		pfree(parameters.data);
		registration_finish(&insert, &sql);
	}
	return registration_write(&insert, registration, REGISTRATION_ADDED);
}

/*
 * Changes the settings in the row of the name, whose units the caller has
 * locked.
 */
bool
registration_update(const Registration *registration)
{
	static ExecStatement update;

	if (update.sql == NULL)
	{
		StringInfoData sql;

		update.nargs = 0;
		initStringInfo(&sql);
		appendStringInfoString(&sql, "UPDATE " REGISTRATION_TABLE);
		/* The name is the first column that is passed. */
		(void) registration_parameter(&update, REGISTRATION_NAME);
		for (int i = 0; i < REGISTRATION_COLUMNS; i++)
			if (registration_columns[i].writes == REGISTRATION_SETTING)
			{
				const char *separator = update.nargs == 1 ? " SET " : ", ";

				appendStringInfo(&sql, "%s%s = $%d", separator, registration_columns[i].name,
								 registration_parameter(&update, i));
			}
		appendStringInfoString(&sql, " WHERE name OPERATOR(pg_catalog.=) $1");
		registration_finish(&update, &sql);
	}
	return registration_write(&update, registration, REGISTRATION_SETTING);
}
