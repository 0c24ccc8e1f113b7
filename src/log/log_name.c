/*
 * log_name.c
 *		The names of a log: the first one, and those that pm.rename_log has given it.
 *
 * Everything that is stored refers to a log by its first name: cursors, parked events, journals,
 * ids, the causation in the metadata of events.  There may be millions of these, so
 * pm.rename_log changes none of them.  It changes only the title, by which users know the log.
 * Functions accept each name that the log has ever had, so that a program that uses an old one
 * keeps working.
 *
 * No other log gets any of these names, for as long as the log exists.  So a name and a position
 * never mean two events.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "base/exec.h"
#include "base/scan.h"
#include "log/log_name.h"

/* The columns of pm_catalog.log_alias. */
enum
{
	LOG_ALIAS_NAME = 1,
	LOG_ALIAS_LOG
};

/*
 * Most databases have no renamed log.  Then no scan is needed.
 */
static bool
log_name_any(void)
{
	/* An extension of version 0.1.0 has no such table. */
	return scan_table_has_pages("log_alias");
}

char *
log_name_first(const char *name)
{
	RowScan scan;
	char *first = NULL;

	if (!log_name_any())
		return NULL;
	scan_begin(&scan, "log_alias", "log_alias_pkey", AccessShareLock);
	scan_where_text(&scan, LOG_ALIAS_NAME, name);
	if (scan_next(&scan))
		first = scan_text(&scan, LOG_ALIAS_LOG);
	scan_end(&scan);
	return first;
}

/*
 * A name can be in two tables, so a unique index does not suffice.  Two names rarely have the
 * same hash; then they only wait for each other.
 */
void
log_name_claim(const char *name)
{
	Oid relid = exec_catalog_relid("log_alias");
	char *first;

	if (!OidIsValid(relid))
		return;
	LockDatabaseObject(relid, hash_bytes((const unsigned char *) name, (int) strlen(name)), 0,
					   ExclusiveLock);
	first = log_name_first(name);
	if (first != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" is or was the name of another log", name),
				 errdetail("pm.rename_log has given it another one. Its first name is \"%s\".",
						   first),
				 errhint("Choose a name that no log has had.")));
}

void
log_name_give(const char *first, const char *title)
{
	static ExecStatement set_title =
		{NULL,
		 "UPDATE pm_catalog.log SET title = $2 WHERE name OPERATOR(pg_catalog.=) $1",
		 2,
		 {TEXTOID, TEXTOID}};
	static ExecStatement add = {NULL,
								"INSERT INTO pm_catalog.log_alias (name, log) "
								"SELECT $2, $1 WHERE $2 OPERATOR(pg_catalog.<>) $1 "
								"ON CONFLICT (name) DO NOTHING",
								2,
								{TEXTOID, TEXTOID}};
	Datum values[2] = {CStringGetTextDatum(first), CStringGetTextDatum(title)};

	(void) exec_as_owner(&set_title, values, NULL);
	(void) exec_as_owner(&add, values, NULL);
	CacheInvalidateRelcacheByRelid(exec_catalog_relid("log"));
}

void
log_name_forget(const char *first)
{
	static ExecStatement forget = {NULL,
								   "DELETE FROM pm_catalog.log_alias "
								   "WHERE log OPERATOR(pg_catalog.=) $1",
								   1,
								   {TEXTOID}};
	Datum values[1] = {CStringGetTextDatum(first)};

	if (log_name_any())
		(void) exec_as_owner(&forget, values, NULL);
}
