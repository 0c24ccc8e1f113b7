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
#include "base/relcache.h"
#include "log/log_build.h"
#include "log/log_cache.h"
#include "log/log_catalog.h"
#include "log/partition.h"

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

static PmLog *stale_logs = NULL; /* to be freed at the end of the transaction */
static LogRelations building;	 /* what a log is being built from */
static uint64 invalidations = 0; /* of these relations and of the catalog, so far */

/*
 * Forgets that a log was built from a relation, of which there may be no other.
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
log_cache_build(const char *name, bool nowait, bool *locked)
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

PmLog *
log_cache_load(const char *name, bool nowait, bool *locked)
{
	LogCacheEntry *entry = log_cache_find(name);
	PmLog *log = NULL;
	uint64 seen;
	uint32 sequence;
	uint32 schema;

	*locked = false;
	if (entry != NULL)
		return entry->log;
	if (strlen(name) >= LOG_MAX_NAME)
		return NULL;

	/*
	 * If an invalidation arrives while the log is being built, the result may be out of
	 * date: build it again.
	 */
	do
	{
		seen = invalidations;
		if (log != NULL)
			MemoryContextDelete(log->context);
		log = log_cache_build(name, nowait, locked);
		if (log == NULL)
			return NULL;
		/* Before the comparison, because invalidations may be received here. */
		sequence = GetSysCacheHashValue1(SEQRELID, ObjectIdGetDatum(log->seqid));
		schema = GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(log->schema));
		CHECK_FOR_INTERRUPTS();
	} while (seen != invalidations);

	entry = hash_search(cache, name, HASH_FIND, NULL);
	if (entry != NULL)
		log_cache_evict(entry);
	entry = hash_search(cache, name, HASH_ENTER, NULL);
	entry->log = NULL;
	entry->relid = log->relid;
	entry->seqid = log->seqid;
	entry->sequence = sequence;
	entry->schema = schema;
	log_cache_relate(log->relid, entry);
	log_cache_relate(log->seqid, entry);
	/* Last, since what precedes can fail. */
	entry->log = log;
	return log;
}

Oid
log_cache_table(const char *name)
{
	LogCacheEntry *entry = log_cache_find(name);

	return entry != NULL ? entry->relid : log_catalog_table(name);
}
