/*
 * registration.c
 *		Reads and writes rows of pm_catalog.process_manager.
 *
 * The table has many columns, and pm.register takes most of them as arguments.
 * So the names of the columns are listed once, in registration_columns[], and
 * the statements that read and write whole rows are built from this list.
 * Functions that change single columns have statements of their own.
 *
 * An extension that is older than the library lacks the columns that came later.
 * They are read as NULL, and not written.  ALTER EXTENSION pm UPDATE adds them
 * while this backend runs, and then the statements are built again.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "manager/registration.h"

#define REGISTRATION_TABLE "pm_catalog.process_manager"

/*
 * Marks a column that came with a version after PM_OLDEST_SERVED.  The version is for
 * readers of the source: the table itself says whether it has the column.
 */
#define SINCE(version) true

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
	bool optional; /* SINCE(...): PM_OLDEST_SERVED does not have it */
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
	[REGISTRATION_KEEP_ENDED] = {"keep_ended", INTERVALOID, REGISTRATION_SETTING, SINCE("0.2.0")},
	[REGISTRATION_JOURNAL] = {"journal", BOOLOID, REGISTRATION_SETTING, SINCE("0.2.0")},
	[REGISTRATION_LEASE] = {"lease", INTERVALOID, REGISTRATION_SETTING, SINCE("0.2.0")},
	[REGISTRATION_CONSUMERS] = {"consumers", OIDARRAYOID, REGISTRATION_SETTING, SINCE("0.2.0")},
	[REGISTRATION_CONSUMER_NAMES] = {"consumer_names", NAMEARRAYOID, REGISTRATION_SETTING,
									 SINCE("0.2.0")},
	[REGISTRATION_CARRY] = {"carry", TEXTARRAYOID, REGISTRATION_SETTING, SINCE("0.2.0")},
};

StaticAssertDecl(lengthof(registration_columns) == REGISTRATION_COLUMNS,
				 "registration_columns[] must have all columns");

/* A statement, and the generation of "present" for which it was built. */
typedef struct RegistrationStatement
{
	ExecStatement statement;
	uint64 generation;
} RegistrationStatement;

/* Which columns the table has. */
static struct
{
	Oid relid;
	int natts;
	uint64 generation; /* increases whenever they may be others than before */
	bool columns[REGISTRATION_COLUMNS];
} present;

/*
 * The number of the table's columns.
 */
static int
registration_natts(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	int natts;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	natts = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	return natts;
}

/*
 * Looks up which columns the table has.  Columns are only ever added, so it has the
 * same ones as long as it has the same number.
 */
static void
registration_look(void)
{
	Oid relid = exec_require_relid("process_manager");
	int natts = registration_natts(relid);

	if (relid == present.relid && natts == present.natts)
		return;
	for (int i = 0; i < REGISTRATION_COLUMNS; i++)
		present.columns[i] = !registration_columns[i].optional ||
							 get_attnum(relid, registration_columns[i].name) != InvalidAttrNumber;
	present.relid = relid;
	present.natts = natts;
	present.generation++;
}

/*
 * Must the statement be built, or built again?  If so, makes it empty.
 */
static bool
registration_outdated(RegistrationStatement *built)
{
	registration_look();
	if (built->generation == present.generation)
		return false;
	exec_forget(&built->statement);
	built->statement.nargs = 0;
	return true;
}

/*
 * Completes a statement with its text, which lives as long as the backend.
 */
static void
registration_finish(RegistrationStatement *built, StringInfo sql)
{
	char *before = unconstify(char *, built->statement.sql);

	built->statement.sql = MemoryContextStrdup(TopMemoryContext, sql->data);
	built->generation = present.generation;
	if (before != NULL)
		pfree(before);
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
registration_make_select(RegistrationStatement *built, RegistrationWhich which)
{
	ExecStatement *statement = &built->statement;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < REGISTRATION_COLUMNS; i++)
	{
		const char *separator = i == 0 ? "SELECT" : ",";

		if (present.columns[i])
			appendStringInfo(&sql, "%s %s", separator, registration_columns[i].name);
		else
			appendStringInfo(&sql, "%s NULL::%s", separator,
							 format_type_be_qualified(registration_columns[i].type));
	}
	appendStringInfoString(&sql, " FROM " REGISTRATION_TABLE);
	if (which == REGISTRATION_BY_OWNER)
		appendStringInfo(&sql, " WHERE owner OPERATOR(pg_catalog.=) $%d",
						 registration_parameter(statement, REGISTRATION_OWNER));
	if (which == REGISTRATION_BY_NAME)
		appendStringInfo(&sql, " WHERE name OPERATOR(pg_catalog.=) $%d",
						 registration_parameter(statement, REGISTRATION_NAME));
	else
		appendStringInfoString(&sql, " ORDER BY id");
	registration_finish(built, &sql);
}

/*
 * Finds rows.  Returns their number.  They live as long as the scope, in which
 * no other statement may run before they have been read.
 */
uint64
registration_select(RegistrationWhich which, Datum key)
{
	static RegistrationStatement statements[REGISTRATION_BY_NAME + 1];
	RegistrationStatement *built = &statements[which];

	if (registration_outdated(built))
		registration_make_select(built, which);
	return exec_statement(&built->statement, &key, NULL);
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
 * Is the column a parameter of a statement that writes those that are written at
 * least this often?
 */
static bool
registration_writes(RegistrationColumn column, RegistrationWrites least)
{
	return present.columns[column] && registration_columns[column].writes >= least;
}

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
		if (!registration_writes(i, least) && i != REGISTRATION_NAME)
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
	static RegistrationStatement insert;

	if (registration_outdated(&insert))
	{
		StringInfoData sql;
		StringInfoData parameters;

		initStringInfo(&sql);
		initStringInfo(&parameters);
		appendStringInfoString(&sql, "INSERT INTO " REGISTRATION_TABLE);
		for (int i = 0; i < REGISTRATION_COLUMNS; i++)
		{
			const char *separator = insert.statement.nargs == 0 ? " (" : ", ";

			if (!registration_writes(i, REGISTRATION_ADDED))
				continue;
			appendStringInfo(&sql, "%s%s", separator, registration_columns[i].name);
			appendStringInfo(&parameters, "%s$%d", separator,
							 registration_parameter(&insert.statement, i));
		}
		appendStringInfo(&sql, ") VALUES%s) ON CONFLICT (name) DO NOTHING", parameters.data);
		pfree(parameters.data);
		registration_finish(&insert, &sql);
	}
	return registration_write(&insert.statement, registration, REGISTRATION_ADDED);
}

/*
 * Changes the settings in the row of the name, whose units the caller has
 * locked.
 */
bool
registration_update(const Registration *registration)
{
	static RegistrationStatement update;

	if (registration_outdated(&update))
	{
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfoString(&sql, "UPDATE " REGISTRATION_TABLE);
		/* The name is the first column that is passed. */
		(void) registration_parameter(&update.statement, REGISTRATION_NAME);
		for (int i = 0; i < REGISTRATION_COLUMNS; i++)
			if (registration_writes(i, REGISTRATION_SETTING))
			{
				const char *separator = update.statement.nargs == 1 ? " SET " : ", ";

				appendStringInfo(&sql, "%s%s = $%d", separator, registration_columns[i].name,
								 registration_parameter(&update.statement, i));
			}
		appendStringInfoString(&sql, " WHERE name OPERATOR(pg_catalog.=) $1");
		registration_finish(&update, &sql);
	}
	return registration_write(&update.statement, registration, REGISTRATION_SETTING);
}
