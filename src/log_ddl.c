/*
 * log_ddl.c
 *		pm.create_log and pm.drop_log.
 *
 * The table is the caller's: it is created, guarded and freed of its guard
 * with the caller's rights.  Only the row in the catalog is written as the
 * extension's owner.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "cursor.h"
#include "guard.h"
#include "log.h"
#include "log_check.h"
#include "nodes/makefuncs.h"
#include "sequence.h"
#include "slot.h"
#include "storage/lmgr.h"
#include "trimmed.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"
#include "wakeup.h"
#include "access/relation.h"

PG_FUNCTION_INFO_V1(pm_create_log);
PG_FUNCTION_INFO_V1(pm_drop_log);

/*
 * Who follows the log, for a message; NULL if nobody.
 */
static char *
log_followers(const char *name)
{
	static ExecStatement followers = {
		NULL,
		"SELECT pg_catalog.string_agg(DISTINCT process_manager, ', ') FROM pm_catalog.cursor WHERE log OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	ExecScope	scope;
	Datum		values[1];
	MemoryContext caller = CurrentMemoryContext;
	char	   *names;

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	exec_statement(&followers, values, NULL);
	names = exec_text(0, 1);
	if (names != NULL)
		names = MemoryContextStrdup(caller, names);
	exec_end(&scope);
	return names;
}

static AttrNumber
log_position_attnum(PmLog *log)
{
	Relation	rel = relation_open(log->relid, NoLock);
	AttrNumber	attnum;

	(void) sequence_of_log(rel, &attnum);
	relation_close(rel, NoLock);
	return attnum;
}

static void
log_insert(const char *name, Oid relid, Oid file)
{
	static ExecStatement insert_log = {
		NULL,
		"INSERT INTO pm_catalog.log (name, source, pos, stream, version, type, data, metadata, recorded_at, sequence_file, "
		"system_identifier, database) VALUES ($1, $2::pg_catalog.oid::pg_catalog.regclass, 'position', 'stream', 'version', 'type', 'data', 'metadata', "
		"'recorded_at', $3, $4, $5)",
		5, {TEXTOID, OIDOID, OIDOID, INT8OID, OIDOID}
	};
	ExecScope	scope;
	Datum		values[5];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(relid);
	values[2] = ObjectIdGetDatum(file);
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	exec_statement(&insert_log, values, NULL);
	log_changed();
	exec_end(&scope);
}

static void
log_delete(const char *name)
{
	static ExecStatement delete_log = {
		NULL,
		"DELETE FROM pm_catalog.log WHERE name OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	};
	ExecScope	scope;
	Datum		values[1];

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	exec_statement(&delete_log, values, NULL);
	log_changed();
	exec_end(&scope);
	trimmed_forget(name);
}

static void
log_require_owner(PmLog *log)
{
	if (get_rel_relkind(log->relid) == '\0')
	{
		if (!superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be superuser to change log \"%s\", whose table is gone", log->name)));
	}
	else if (!compat_class_ownercheck(log->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, log->name);
}

/*
 * Accepts a sequence that was rebuilt, if it fits.
 */
static void
log_accept_sequence(PmLog *log)
{
	static ExecStatement accept = {
		NULL,
		"UPDATE pm_catalog.log SET sequence_file = $2, system_identifier = $3, database = $4 "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		4, {TEXTOID, OIDOID, INT8OID, OIDOID}
	};
	ExecScope	scope;
	Datum		values[4];
	int64		last;
	int64		needed;

	if (!log_sequence_fits(log, &last, &needed))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the sequence of log \"%s\" is at %lld, positions up to %lld have been used", log->name,
						(long long) last, (long long) needed),
				 errhint("SELECT pg_catalog.setval(%s, %lld), then try again.",
						 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(log->seqid)),
																	   get_rel_name(log->seqid))),
						 (long long) needed)));

	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(log->name);
	values[1] = ObjectIdGetDatum(sequence_file(log->seqid));
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = ObjectIdGetDatum(MyDatabaseId);
	exec_statement(&accept, values, NULL);
	log_changed();
	wakeup_registry();
	exec_end(&scope);
}

/*
 * Puts back what is missing of a log's guard, and accepts its sequence.
 */
static void
log_repair(PmLog *log)
{
	ExecScope	scope;
	AttrNumber	attnum;

	/* Nobody writes while the guard and the sequence are put right. */
	LockRelationOid(log->relid, AccessExclusiveLock);
	if (!OidIsValid(log->seqid) || get_rel_relkind(log->relid) != RELKIND_RELATION)
		log_require_whole(log);
	log_accept_sequence(log);
	attnum = log_position_attnum(log);
	exec_begin_caller(&scope);
	guard_put_back(log->relid, attnum);
	exec_end(&scope);
}

/*
 * A follower's database has become a copy's own: the restored sequence is
 * taken for what it is.
 */
void
log_adopt(const char *name)
{
	PmLog	   *log = log_get(name, false);

	if (log->sequence_changed)
		log_accept_sequence(log);
	if (OidIsValid(log->seqid))
		guard_adopt(log->relid);
}

/*
 * The names of all logs.
 */
List *
log_names(void)
{
	static ExecStatement names = {
		NULL,
		"SELECT name FROM pm_catalog.log ORDER BY name",
		0, {InvalidOid}
	};
	MemoryContext caller = CurrentMemoryContext;
	List	   *logs = NIL;
	ExecScope	scope;

	exec_begin_owner(&scope);
	exec_statement(&names, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		logs = lappend(logs, exec_text(row, 1));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	return logs;
}

/*
 * The tables of all logs.
 */
List *
log_relids(void)
{
	static ExecStatement relids = {
		NULL,
		"SELECT source::pg_catalog.oid FROM pm_catalog.log",
		0, {InvalidOid}
	};
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;
	ExecScope	scope;
	bool		isnull;

	exec_begin_owner(&scope);
	exec_statement(&relids, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		result = lappend_oid(result, DatumGetObjectId(exec_value(row, 1, &isnull)));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	return result;
}

/*
 * Adopts the copied logs whose tables the caller owns.
 */
void
log_adopt_owned(void)
{
	ListCell   *lc;

	foreach(lc, log_names())
	{
		PmLog	   *log = log_get(lfirst(lc), false);

		/* One that does not fit says so itself, whenever it is used. */
		if (OidIsValid(log->seqid) && !log->at_home && log->problem == NULL &&
			compat_class_ownercheck(log->relid, GetUserId()))
			log_adopt(log->name);
	}
}

/*
 * pm.create_log(log)
 *
 * Makes a table of that name and the log of that name.  On a log that exists
 * it repairs what log_check() complains of, and refuses if nothing is wrong.
 */
Datum
pm_create_log(PG_FUNCTION_ARGS)
{
	char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = log_normalize(given);
	PmLog	   *log;
	List	   *parts;
	ListCell   *lc;
	RangeVar   *range;
	Oid			nsp;
	Oid			relid;
	AttrNumber	attnum;
	Relation	rel;
	ExecScope	scope;
	char	   *table;
	char	   *followers;

	highwater_require_fresh_snapshots("pm.create_log");
	exec_require_writable("pm.create_log");
	if (name == NULL || !SplitIdentifierString(pstrdup(given), '.', &parts) || list_length(parts) > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a log: \"%s\"", given),
				 errhint("A log is named as its table: name or schema.name, in double quotes where SQL needs them.")));

	foreach(lc, parts)
		if (strlen(given) >= NAMEDATALEN && strlen(lfirst(lc)) >= NAMEDATALEN - 1)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("name of a log is too long: \"%s\"", given),
					 errdetail("An identifier has at most %d bytes.", NAMEDATALEN - 1)));

	log = log_get(name, true);
	if (log != NULL && get_rel_relkind(log->relid) != '\0')
	{
		if (log->problem == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("event log \"%s\" already exists", log->name)));
		log_require_owner(log);
		log_repair(log);
		CommandCounterIncrement();
		log_require_whole(log_get(name, false));
		PG_RETURN_VOID();
	}
	if (log != NULL)
	{
		/* The table was dropped.  The name is free, once nobody waits for it. */
		followers = log_followers(log->name);
		if (followers != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("the table of log \"%s\" was dropped, but the log is followed still", log->name),
					 errdetail("It is followed by: %s.", followers),
					 errhint("End that with pm.unfollow first.")));
		log_delete(log->name);
		CommandCounterIncrement();
	}

	range = list_length(parts) == 1 ? makeRangeVar(NULL, linitial(parts), -1) :
		makeRangeVar(linitial(parts), lsecond(parts), -1);
	nsp = RangeVarGetCreationNamespace(range);
	if (isTempNamespace(nsp))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("an event log cannot be a temporary table"),
				 errhint("Name a schema, or change the search_path.")));
	table = quote_qualified_identifier(get_namespace_name(nsp), range->relname);

	exec_begin_caller(&scope);
	exec_command(psprintf("CREATE TABLE %s ("
						  "position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
						  "stream text NOT NULL, "
						  "version bigint, "
						  "type text NOT NULL, "
						  "data jsonb NOT NULL DEFAULT '{}', "
						  "metadata jsonb NOT NULL DEFAULT '{}', "
						  "recorded_at timestamptz NOT NULL DEFAULT pg_catalog.statement_timestamp(), "
						  "UNIQUE (stream, version))", table));
	relid = get_relname_relid(range->relname, nsp);
	rel = relation_open(relid, AccessExclusiveLock);
	(void) sequence_of_log(rel, &attnum);
	relation_close(rel, NoLock);
	guard_put_back(relid, attnum);
	CommandCounterIncrement();
	rel = relation_open(relid, AccessExclusiveLock);
	relid = sequence_of_log(rel, &attnum);
	log_insert(name, RelationGetRelid(rel), sequence_file(relid));
	relation_close(rel, NoLock);
	exec_end(&scope);
	PG_RETURN_VOID();
}

/*
 * pm.drop_log(log)
 *
 * Forgets the log and takes the guard off; the table stays.
 */
Datum
pm_drop_log(PG_FUNCTION_ARGS)
{
	PmLog	   *log = log_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	ExecScope	scope;
	char	   *followers;

	/* An old snapshot would not see who follows it. */
	highwater_require_fresh_snapshots("pm.drop_log");
	exec_require_writable("pm.drop_log");
	log_require_owner(log);
	LockDatabaseObject(exec_catalog_relid("log"), log->relid, 0, ExclusiveLock);
	followers = log_followers(log->name);
	if (followers != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop log \"%s\" while it is followed", log->name),
				 errdetail("It is followed by: %s.", followers),
				 errhint("End that with pm.unfollow or pm.unregister first.")));
	if (get_rel_relkind(log->relid) != '\0')
	{
		exec_begin_caller(&scope);
		exec_command(psprintf("DROP TRIGGER IF EXISTS %s ON %s", GUARD_WRITE_TRIGGER, log->table));
		exec_command(psprintf("DROP TRIGGER IF EXISTS %s ON %s", GUARD_UPDATE_TRIGGER, log->table));
		exec_command(psprintf("DROP TRIGGER IF EXISTS %s ON %s", GUARD_TRUNCATE_TRIGGER, log->table));
		exec_command(psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", log->table, GUARD_CHECK));
		exec_end(&scope);
	}
	log_delete(log->name);
	wakeup_forget(log->relid);
	PG_RETURN_VOID();
}
