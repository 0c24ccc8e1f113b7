/*
 * log.c
 *		Event logs: from a name to a table and its columns.
 *
 * Each backend caches the logs it meets.  An entry is thrown away when the
 * table, its sequence or the catalog of logs changes, and is built and checked
 * anew at the next use: what the high-water mark rests on is looked at then.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "base/identifier.h"
#include "log/guard.h"
#include "log/log.h"
#include "log/log_check.h"
#include "log/log_trouble.h"
#include "log/sequence.h"
#include "shmem/slot.h"

typedef struct LogCacheEntry
{
	char name[LOG_MAX_NAME]; /* hash key */
	PmLog *log;				 /* NULL: to be built */
	Oid relid;
	Oid seqid;
} LogCacheEntry;

static HTAB *cache = NULL;
static Oid catalog_relid = InvalidOid;

static PmLog *doomed = NULL;
static Oid building[2];			 /* a log's table and sequence, while it is built */
static uint64 invalidations = 0; /* seen so far of these and of the catalog */

/*
 * Takes a log out of the cache.  Somebody up the stack may use it still, so it
 * is freed at the end of the transaction.
 */
static void
log_stale(LogCacheEntry *entry)
{
	if (entry->log == NULL)
		return;
	entry->log->stale = true;
	entry->log->next_doomed = doomed;
	doomed = entry->log;
	entry->log = NULL;
}

static void
log_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (doomed != NULL)
	{
		PmLog *log = doomed;

		doomed = log->next_doomed;
		for (int i = 0; i < LOG_PLANS; i++)
			if (log->plans[i] != NULL)
				SPI_freeplan(log->plans[i]);
		MemoryContextDelete(log->context);
	}
}

static void
log_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	LogCacheEntry *entry;

	if (relid == InvalidOid || relid == catalog_relid || relid == building[0] ||
		relid == building[1])
		invalidations++;
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (relid == InvalidOid || relid == catalog_relid || relid == entry->relid ||
			relid == entry->seqid)
			log_stale(entry);
}

static void
log_syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	log_relcache_callback((Datum) 0, InvalidOid);
}

void
log_install(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = LOG_MAX_NAME;
	ctl.entrysize = sizeof(LogCacheEntry);
	cache = hash_create("pm logs", 16, &ctl, HASH_ELEM | HASH_STRINGS);
	CacheRegisterRelcacheCallback(log_relcache_callback, (Datum) 0);
	RegisterXactCallback(log_xact_callback, NULL);
	CacheRegisterSyscacheCallback(SEQRELID, log_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, log_syscache_callback, (Datum) 0);
}

/*
 * Tells every backend, at commit, that the catalog of logs has changed.
 */
void
log_changed(void)
{
	CacheInvalidateRelcacheByRelid(exec_catalog_relid("log"));
}

/*
 * Builds a log from its row of the catalog, the last result's only one.  With
 * nowait, NULL while somebody holds the table exclusively.
 */
static PmLog *
log_build(const char *name, bool nowait)
{
	MemoryContext context;
	PmLog *log;
	Relation rel;
	AttrNumber attnum;
	bool isnull;
	Oid relid = DatumGetObjectId(exec_value(0, 1, &isnull));
	Oid file;
	bool at_home;

	building[0] = relid;
	building[1] = InvalidOid;
	if (!nowait)
		LockRelationOid(relid, AccessShareLock);
	else if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return NULL;
	rel = try_relation_open(relid, NoLock);

	context = AllocSetContextCreate(CurrentMemoryContext, "pm log", ALLOCSET_SMALL_SIZES);
	log = MemoryContextAllocZero(context, sizeof(PmLog));
	log->context = context;
	log->name = MemoryContextStrdup(context, name);
	log->relid = relid;
	file = DatumGetObjectId(exec_value(0, 9, &isnull));
	at_home = DatumGetInt64(exec_value(0, 10, &isnull)) == (int64) GetSystemIdentifier() &&
			  DatumGetObjectId(exec_value(0, 11, &isnull)) == MyDatabaseId;

	if (rel == NULL)
	{
		log->table = "";
		log_problem(
			log, psprintf("the table of log \"%s\" does not exist", name),
			psprintf(
				"Stop following it with pm.unfollow, then forget it with SELECT pm.drop_log(%s).",
				quote_literal_cstr(name)));
	}
	else
	{
		log->table = MemoryContextStrdup(context,
										 quote_qualified_identifier(get_namespace_name(
																		RelationGetNamespace(rel)),
																	RelationGetRelationName(rel)));
		log->owner = rel->rd_rel->relowner;
		if (rel->rd_rel->relkind == RELKIND_RELATION)
			log->seqid = building[1] = sequence_of_log(rel, &attnum);
		log->pos = log_column(log, rel, EVENT_POSITION, exec_text(0, 2), INT8OID);
		log->stream = log_column(log, rel, EVENT_STREAM, exec_text(0, 3), TEXTOID);
		log->version = log_column(log, rel, EVENT_VERSION, exec_text(0, 4), INT8OID);
		log->type = log_column(log, rel, EVENT_TYPE, exec_text(0, 5), TEXTOID);
		log->data = log_column(log, rel, EVENT_DATA, exec_text(0, 6), JSONBOID);
		log->metadata = log_column(log, rel, EVENT_METADATA, exec_text(0, 7), JSONBOID);
		log->recorded_at = log_column(log, rel, EVENT_RECORDED_AT, exec_text(0, 8), TIMESTAMPTZOID);
		while (!log_check(log, rel, file, at_home))
		{
			/* Somebody has the sequence. */
			if (nowait)
			{
				relation_close(rel, NoLock);
				UnlockRelationOid(relid, AccessShareLock);
				MemoryContextDelete(context);
				return NULL;
			}
			LockRelationOid(log->seqid, AccessShareLock);
			UnlockRelationOid(log->seqid, AccessShareLock);
		}
		relation_close(rel, NoLock);
	}
	UnlockRelationOid(relid, AccessShareLock);
	MemoryContextSetParent(context, CacheMemoryContext);
	return log;
}

/*
 * "Sales.Orders" is the log sales.orders, as a table's name would be.
 */
char *
log_normalize(const char *name)
{
	List *parts = identifier_values(name);

	return parts == NIL ? NULL : NameListToQuotedString(parts);
}

static PmLog *
log_load(const char *name, bool nowait, bool *locked)
{
	static ExecStatement select_log = {
		NULL,
		"SELECT source::pg_catalog.oid, pos, stream, version, type, data, metadata, recorded_at, sequence_file, "
		"system_identifier, database "
		"FROM pm_catalog.log WHERE name OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID}};
	LogCacheEntry *entry;
	ExecScope scope;
	Datum values[1];
	PmLog *log = NULL;
	bool found;
	uint64 seen;

	*locked = false;
	if (strlen(name) >= LOG_MAX_NAME)
		return NULL;
	entry = hash_search(cache, name, HASH_FIND, NULL);
	if (entry != NULL && entry->log != NULL)
		return entry->log;

	/* What becomes stale while it is built is built again. */
	do
	{
		seen = invalidations;
		if (log != NULL)
			MemoryContextDelete(log->context);
		log = NULL;
		exec_begin_owner(&scope);
		catalog_relid = exec_catalog_relid("log");
		values[0] = CStringGetTextDatum(name);
		if (exec_statement(&select_log, values, NULL) == 1)
		{
			log = log_build(name, nowait);
			*locked = log == NULL;
		}
		exec_end(&scope);
		if (log == NULL)
			return NULL;
		CHECK_FOR_INTERRUPTS();
	} while (seen != invalidations);

	entry = hash_search(cache, name, HASH_ENTER, &found);
	if (found)
		log_stale(entry);
	entry->log = log;
	entry->relid = log->relid;
	entry->seqid = log->seqid;
	return log;
}

static void
log_refuse_missing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("event log \"%s\" does not exist", name),
			 errhint("SELECT name FROM pm.log lists the logs; pm.create_log makes one.")));
}

/*
 * The log of that name.  The name is taken literally first, then read as an
 * SQL identifier.
 */
PmLog *
log_get(const char *name, bool missing_ok)
{
	bool locked;
	PmLog *log = log_load(name, false, &locked);
	char *normal;

	if (log == NULL && (normal = log_normalize(name)) != NULL && strcmp(normal, name) != 0)
		log = log_load(normal, false, &locked);
	if (log == NULL && !missing_ok)
		log_refuse_missing(name);
	return log;
}

/*
 * The table of the log of exactly that name, without locking it.
 */
static Oid
log_source(const char *name)
{
	static ExecStatement select_source =
		{NULL,
		 "SELECT source::pg_catalog.oid FROM pm_catalog.log WHERE name OPERATOR(pg_catalog.=) $1",
		 1,
		 {TEXTOID}};
	LogCacheEntry *entry = NULL;
	ExecScope scope;
	Datum values[1];
	Oid relid = InvalidOid;
	bool isnull;

	if (strlen(name) < LOG_MAX_NAME)
		entry = hash_search(cache, name, HASH_FIND, NULL);
	if (entry != NULL && entry->log != NULL)
		return entry->relid;
	exec_begin_owner(&scope);
	values[0] = CStringGetTextDatum(name);
	if (exec_statement(&select_source, values, NULL) == 1)
		relid = DatumGetObjectId(exec_value(0, 1, &isnull));
	exec_end(&scope);
	return relid;
}

/*
 * The full name of a log and its table, without locking it.  NULL if there is
 * no such log.
 */
char *
log_find(const char *name, Oid *relid, bool missing_ok)
{
	char *found = pstrdup(name);

	*relid = log_source(found);
	if (!OidIsValid(*relid) && (found = log_normalize(name)) != NULL)
		*relid = log_source(found);
	if (OidIsValid(*relid))
		return found;
	if (!missing_ok)
		log_refuse_missing(name);
	return NULL;
}

/*
 * The log of that name, for a role that may read it.  Rights first: whoever
 * has none does not wait for the table, nor keep others waiting for it.
 */
PmLog *
log_get_as(const char *name, Oid role)
{
	Oid relid;
	char *found = log_find(name, &relid, false);

	log_require_right(found, relid, role);
	return log_get(found, false);
}

/*
 * The log of exactly that name, without waiting: NULL when it does not exist
 * or, *locked, somebody holds its table exclusively.
 */
PmLog *
log_get_nowait(const char *name, bool *locked)
{
	return log_load(name, true, locked);
}

/*
 * Refuses a log that cannot be relied on.
 */
void
log_require_whole(PmLog *log)
{
	if (log->problem != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s", log->problem), log->hint ? errhint("%s", log->hint) : 0));
}

/*
 * Has the role the right to read the table of a log?
 */
bool
log_has_right(Oid relid, Oid role)
{
	Oid nsp = get_rel_namespace(relid);

	return OidIsValid(nsp) && compat_namespace_aclcheck(nsp, role, ACL_USAGE) == ACLCHECK_OK &&
		   (pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK ||
			pg_attribute_aclcheck_all(relid, role, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK);
}

/*
 * What gives a role the rights to read a table, in SQL.
 */
char *
log_grants(Oid relid, const char *role)
{
	char *schema = get_namespace_name(get_rel_namespace(relid));
	char *table = get_rel_name(relid);

	if (schema == NULL || table == NULL)
		return "";
	return psprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s",
					quote_identifier(schema), quote_identifier(role),
					quote_qualified_identifier(schema, table), quote_identifier(role));
}

/*
 * Refuses a role that has not.  Asks the catalog only, so the table need not
 * be locked; whether there is one is not asked here.
 */
void
log_require_right(const char *name, Oid relid, Oid role)
{
	char *table = get_rel_name(relid);
	char *user;

	if (table == NULL || log_has_right(relid, role))
		return;
	user = GetUserNameFromId(role, false);
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("role \"%s\" may not read log \"%s\"", user, name),
					errhint("Run %s.", log_grants(relid, user))));
}

bool
log_may_select(PmLog *log, Oid role)
{
	return log_has_right(log->relid, role);
}

/*
 * Can the table's owner read all of it?  (An owner can revoke that, and force
 * row policies on himself.)
 */
bool
log_owner_can_read(PmLog *log)
{
	return log_may_select(log, log->owner) &&
		   check_enable_rls(log->relid, log->owner, true) != RLS_ENABLED;
}

/*
 * May the role read the log, and all of it?
 */
bool
log_may_read(PmLog *log, Oid role)
{
	return log_may_select(log, role) && check_enable_rls(log->relid, role, true) != RLS_ENABLED &&
		   log_owner_can_read(log);
}

/*
 * Refuses a role that may not read the log, or not all of it.
 */
void
log_require_select(PmLog *log, Oid role)
{
	LogTrouble trouble;

	if (*log->table == '\0')
		log_require_whole(log);
	if (log_trouble_rights(&trouble, log, role))
		log_trouble_raise(&trouble);
}

void
log_refuse_types(PmLog *log)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("a column of log \"%s\" is not of the type that it must have", log->name),
			 errhint("Change the column's type back.")));
}

/*
 * A log's name from an argument, refused when NULL.
 */
char *
log_arg_name(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("log must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/*
 * How many events at most, from an argument; NULL is no limit.
 */
int64
log_arg_count(FunctionCallInfo fcinfo, int arg)
{
	int32 count;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	count = PG_GETARG_INT32(arg);
	if (count < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_count must not be negative"), errhint("NULL means all.")));
	return count;
}
