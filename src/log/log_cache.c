/*
 * log_cache.c
 *		The logs that this backend has used.
 *
 * An entry is taken out when the table, its sequence or the catalog of logs
 * changes, and the log is built and checked again at its next use.  So the
 * conditions on which the high-water mark relies (highwater.c) are checked
 * again after each change that sends an invalidation.
 */
#include "pm.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/relation_change.h"
#include "base/relcache.h"
#include "log/log_build.h"
#include "log/log_cache.h"
#include "log/log_catalog.h"
#include "log/log_survey.h"
#include "log/partition.h"
#include "log/sequence.h"

typedef struct LogCacheEntry
{
	char name[LOG_MAX_NAME]; /* hash key */
	PmLog *log;				 /* NULL: it was not built to the end */
	Oid relid;
	Oid seqid;
	uint32 sequence; /* the hash value of its row in the system cache SEQRELID, */
	uint32 schema;	 /* and of that of the table's schema in NAMESPACEOID */
} LogCacheEntry;

/* The logs that have been built from a table or sequence. */
typedef struct LogCacheRelation
{
	Oid relid;	   /* hash key */
	List *entries; /* of LogCacheEntry */
} LogCacheRelation;

static HTAB *cache = NULL;
static HTAB *relations = NULL;
static Oid catalog_relid = InvalidOid;

static LocalTransactionId missed_in; /* a transaction, and how many logs it has not found here */
static int missed = 0;

static PmLog *stale_logs = NULL;	 /* to be freed at the end of the transaction */
static LogRelations building;		 /* what a log is being built from */
static uint64 invalidations = 0;	 /* of these relations and of the catalog, so far */
static uint64 row_invalidations = 0; /* of rows of pg_sequence and pg_namespace */

/* A transaction that has built this many logs looks for all others at once. */
#define LOG_CACHE_FEW 32

/*
 * Forgets that a log was built from a relation.  It may have been the only one.
 */
static void
log_cache_unrelate(Oid relid, LogCacheEntry *entry)
{
	LogCacheRelation *relation = hash_search(relations, &relid, HASH_FIND, NULL);

	if (relation == NULL)
		return;
	relation->entries = list_delete_ptr(relation->entries, entry);
	if (relation->entries == NIL)
		(void) hash_search(relations, &relid, HASH_REMOVE, NULL);
}

/*
 * Takes a log out of the cache.  A caller further up the stack may still use it,
 * so it is freed only at the end of the transaction.
 */
static void
log_cache_evict(LogCacheEntry *entry)
{
	PmLog *log = entry->log;

	log_cache_unrelate(entry->relid, entry);
	log_cache_unrelate(entry->seqid, entry);
	(void) hash_search(cache, entry->name, HASH_REMOVE, NULL);
	if (log == NULL)
		return;
	log->stale = true;
	log->next_stale = stale_logs;
	stale_logs = log;
}

static void
log_cache_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	while (stale_logs != NULL)
	{
		PmLog *log = stale_logs;

		stale_logs = log->next_stale;
		for (int i = 0; i < LOG_PLANS; i++)
			if (log->plans[i] != NULL)
				SPI_freeplan(log->plans[i]);
		MemoryContextDelete(log->context);
	}
}

/*
 * There may be thousands of logs, and many invalidations of other relations.  So the logs
 * of a relation are looked up.
 */
static void
log_cache_relcache_callback(Datum arg, Oid relid)
{
	bool all = relid == InvalidOid || relid == catalog_relid;
	HASH_SEQ_STATUS scan;
	LogCacheRelation *relation;
	LogCacheEntry *entry;
	Oid root = partition_known_root(relid);

	relation_change_note(relid);
	sequence_forget(relid);
	/* What changes in a partition concerns the log. */
	if (OidIsValid(root))
		relid = root;
	if (all || relid == building.table || relid == building.sequence)
		invalidations++;
	if (all)
	{
		hash_seq_init(&scan, cache);
		while ((entry = hash_seq_search(&scan)) != NULL)
			log_cache_evict(entry);
		return;
	}
	/* With its last log, the relation is forgotten too. */
	while ((relation = hash_search(relations, &relid, HASH_FIND, NULL)) != NULL)
		if (relation->entries != NIL)
			log_cache_evict(linitial(relation->entries));
		else
			(void) hash_search(relations, &relid, HASH_REMOVE, NULL);
}

/*
 * A row of pg_sequence or pg_namespace has changed; 0: any.
 */
static void
log_cache_syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS scan;
	LogCacheEntry *entry;

	invalidations++;
	row_invalidations++;
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (hashvalue == 0 || hashvalue == (cacheid == SEQRELID ? entry->sequence : entry->schema))
			log_cache_evict(entry);
}

void
log_cache_install(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = LOG_MAX_NAME;
	ctl.entrysize = sizeof(LogCacheEntry);
	cache = hash_create("pm logs", 16, &ctl, HASH_ELEM | HASH_STRINGS);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(LogCacheRelation);
	relations = hash_create("pm relations of logs", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	relcache_watch(log_cache_relcache_callback);
	RegisterXactCallback(log_cache_xact_callback, NULL);
	/* A sequence's parameters, and the name of a schema, change without a relcache event. */
	CacheRegisterSyscacheCallback(SEQRELID, log_cache_syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, log_cache_syscache_callback, (Datum) 0);
}

static LogCacheEntry *
log_cache_find(const char *name)
{
	LogCacheEntry *entry = NULL;

	if (strlen(name) < LOG_MAX_NAME)
		entry = hash_search(cache, name, HASH_FIND, NULL);
	return entry != NULL && entry->log != NULL ? entry : NULL;
}

/*
 * Remembers that this log was built from this relation.
 */
static void
log_cache_relate(Oid relid, LogCacheEntry *entry)
{
	MemoryContext old;
	LogCacheRelation *relation;
	bool found;

	if (!OidIsValid(relid))
		return;
	relation = hash_search(relations, &relid, HASH_ENTER, &found);
	if (!found)
		relation->entries = NIL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	relation->entries = list_append_unique_ptr(relation->entries, entry);
	MemoryContextSwitchTo(old);
}

/*
 * Builds the log from its row, once.
 */
static PmLog *
log_cache_build_once(const char *name, bool nowait, bool *locked)
{
	PmLog *log = NULL;
	LogRow row;
	ExecScope scope;

	exec_begin_owner(&scope);
	catalog_relid = exec_catalog_relid("log");
	if (log_catalog_row(name, &row))
	{
		log = log_build(&row, nowait, &building);
		*locked = log == NULL;
	}
	exec_end(&scope);
	return log;
}

/*
 * Puts a log into the cache, under one of its names.  Receives no invalidations, so that the log
 * cannot be out of date if the caller has received none since it was built.
 */
static void
log_cache_keep(const char *name, PmLog *log)
{
	LogCacheEntry *entry = hash_search(cache, name, HASH_FIND, NULL);

	if (entry != NULL)
		log_cache_evict(entry);
	entry = hash_search(cache, name, HASH_ENTER, NULL);
	entry->log = NULL;
	entry->relid = log->relid;
	entry->seqid = log->seqid;
	entry->sequence = GetSysCacheHashValue1(SEQRELID, ObjectIdGetDatum(log->seqid));
	entry->schema = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(log->schema));
	log_cache_relate(log->relid, entry);
	log_cache_relate(log->seqid, entry);
	/* Last, since what precedes can fail. */
	entry->log = log;
}

/*
 * The system caches are opened when they are used for the first time, and that can receive
 * invalidations.
 */
static void
log_cache_open_syscaches(void)
{
	(void) GetSysCacheHashValue1(SEQRELID, ObjectIdGetDatum(InvalidOid));
	(void) GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(InvalidOid));
}

/* ---------- many logs at once ---------- */

/*
 * Will this transaction probably ask for many more logs that are not in the cache?  True once
 * in each transaction.
 */
static bool
log_cache_misses_many(void)
{
	LocalTransactionId now = compat_proc_lxid(MyProc);

	if (missed_in != now)
		missed = 0;
	missed_in = now;
	return ++missed == LOG_CACHE_FEW;
}

/*
 * The rows of those logs that are not in the cache.
 */
static List *
log_cache_missing(void)
{
	List *missing = NIL;
	ListCell *lc;

	foreach(lc, log_catalog_rows())
		if (log_cache_find(((LogRow *) lfirst(lc))->name) == NULL)
			missing = lappend(missing, lfirst(lc));
	return missing;
}

/*
 * Keeps those logs that have not changed since then.
 */
static void
log_cache_keep_all(List *surveys, uint64 point, uint64 rows)
{
	ListCell *lc;

	foreach(lc, surveys)
	{
		LogSurvey *survey = lfirst(lc);
		PmLog *log = survey->log;

		if (rows != row_invalidations || relation_change_since(point, catalog_relid) ||
			relation_change_since(point, log->relid) || relation_change_since(point, log->seqid))
			continue;
		MemoryContextSetParent(log->context, CacheMemoryContext);
		log_cache_keep(log->name, log);
		sequence_remember(log->seqid, survey->tablespace, survey->file);
	}
}

static void
log_cache_fill(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pm survey of logs",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	uint64 point;
	uint64 rows;
	List *surveys;

	catalog_relid = exec_catalog_relid("log");
	log_cache_open_syscaches();
	point = relation_change_point();
	rows = row_invalidations;
	surveys = log_survey(log_cache_missing());
	log_cache_keep_all(surveys, point, rows);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* ---------- looking up ---------- */

/*
 * Builds the log.  If an invalidation arrives meanwhile, the result may be out of date, and
 * the log is built again.
 */
static PmLog *
log_cache_build(const char *name, bool nowait, bool *locked)
{
	PmLog *log = NULL;
	uint64 seen;

	log_cache_open_syscaches();
	do
	{
		seen = invalidations;
		if (log != NULL)
			MemoryContextDelete(log->context);
		log = log_cache_build_once(name, nowait, locked);
		if (log == NULL)
			return NULL;
		CHECK_FOR_INTERRUPTS();
	} while (seen != invalidations);
	log_cache_keep(name, log);
	return log;
}

PmLog *
log_cache_load(const char *name, bool nowait, bool *locked)
{
	LogCacheEntry *entry = log_cache_find(name);

	*locked = false;
	if (entry != NULL)
		return entry->log;
	if (strlen(name) >= LOG_MAX_NAME)
		return NULL;
	if (log_cache_misses_many())
	{
		log_cache_fill();
		entry = log_cache_find(name);
	}
	return entry != NULL ? entry->log : log_cache_build(name, nowait, locked);
}

Oid
log_cache_table(const char *name)
{
	LogCacheEntry *entry = log_cache_find(name);

	return entry != NULL ? entry->relid : log_catalog_table(name);
}
