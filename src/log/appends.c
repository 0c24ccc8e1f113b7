/*
 * appends.c
 *		Remembers to which logs the handlers of a process manager have appended.
 *
 * pm.diagram shows these logs.  While a handler runs, the guard of a log notes each
 * statement that inserts into it.  At the end of the batch, what is new is written to a
 * private table, in the transaction of the batch: a row for each log, once.  Most batches
 * write nothing, because the backend knows the rows that exist.
 *
 * The table has no unique index.  Two lanes may add the same row at the same time, and need
 * not wait for each other; readers count such rows as one.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/bulk.h"
#include "base/exec.h"
#include "base/relcache.h"
#include "base/scan.h"
#include "base/version.h"
#include "base/within.h"
#include "log/appends.h"

/* The columns of pm_catalog.appends by number. */
enum
{
	APPENDS_MANAGER = 1,
	APPENDS_LOG
};
#define APPENDS_COLUMNS APPENDS_LOG

static const char *const appends_columns[] = {
	[APPENDS_MANAGER - 1] = "process_manager",
	[APPENDS_LOG - 1] = "log",
};

StaticAssertDecl(lengthof(appends_columns) == APPENDS_COLUMNS,
				 "appends_columns[] must have all columns");

#define APPENDS_TABLE "appends"
#define APPENDS_INDEX "appends_key"

/* ---------- what the handlers of this batch do ---------- */

/* The log may be undone with the subtransaction that has written it first. */
typedef struct AppendsNote
{
	Oid relid;
	SubTransactionId subid;
} AppendsNote;

static AppendsNote *notes = NULL; /* in the order of subid */
static int count = 0;
static int room = 0;

/* ---------- what this backend knows to be in the table ---------- */

typedef struct AppendsKnown /* the whole struct is a hash key */
{
	int manager;
	Oid relid;
} AppendsKnown;

static HTAB *known = NULL;
static uint64 known_version; /* of the registrations */
static bool known_is_stale = false;
static bool known_is_new = false; /* this transaction has added to it */

static void
appends_forget_known(void)
{
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
	known_is_stale = known_is_new = false;
}

/*
 * A log may be dropped and made again, without the rows that were known.
 */
static void
appends_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	AppendsKnown *entry;

	if (known == NULL || known_is_stale)
		return;
	hash_seq_init(&scan, known);
	while ((entry = hash_seq_search(&scan)) != NULL)
		known_is_stale |= relid == InvalidOid || relid == entry->relid;
}

static void
appends_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
						 void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	/* The IDs of subtransactions increase. */
	while (count > 0 && notes[count - 1].subid >= mysubid)
		count--;
	if (known_is_new)
		appends_forget_known();
}

static void
appends_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			known_is_new = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE: /* it may still be rolled back */
			if (known_is_new)
				appends_forget_known();
			break;
		default:
			break;
	}
}

void
appends_install(void)
{
	RegisterSubXactCallback(appends_subxact_callback, NULL);
	RegisterXactCallback(appends_xact_callback, NULL);
	relcache_watch(appends_relcache_callback);
}

void
appends_begin(void)
{
	count = 0;
}

/*
 * Code of other roles that runs in a restricted operation is not the handler.
 */
void
appends_note(Oid relid)
{
	if (!within_handler() || InSecurityRestrictedOperation())
		return;
	/* The log that was written last comes first. */
	for (int i = count - 1; i >= 0; i--)
		if (notes[i].relid == relid)
			return;
	if (count == room)
	{
		room = Max(8, room * 2);
		notes = notes == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(AppendsNote) * room) :
								repalloc_huge(notes, sizeof(AppendsNote) * room);
	}
	notes[count].relid = relid;
	notes[count++].subid = GetCurrentSubTransactionId();
}

/* ---------- the table ---------- */

/*
 * The name of the log with this table, or NULL.  log_catalog.c, which has such a function,
 * calls this file.
 */
static char *
appends_log_name(Oid relid)
{
	static ExecStatement of_table = {
		NULL,
		"SELECT name FROM pm_catalog.log "
		"WHERE source OPERATOR(pg_catalog.=) $1::pg_catalog.oid::pg_catalog.regclass",
		1,
		{OIDOID},
	};
	Datum values[1] = {ObjectIdGetDatum(relid)};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	char *name = NULL;

	exec_begin_owner(&scope);
	if (exec_statement(&of_table, values, NULL) > 0)
		name = MemoryContextStrdup(caller, exec_text(0, 1));
	exec_end(&scope);
	return name;
}

/*
 * Is the row there already?
 */
static bool
appends_has(const char *name, const char *log)
{
	static ScanTable table = {
		.name = APPENDS_TABLE,
		.index = APPENDS_INDEX,
		.columns = appends_columns,
		.ncolumns = APPENDS_COLUMNS,
	};
	RowScan scan;
	bool found;

	scan_begin_table(&scan, &table, AccessShareLock);
	scan_where_text(&scan, APPENDS_MANAGER, name);
	scan_where_text(&scan, APPENDS_LOG, log);
	found = scan_next(&scan);
	scan_end(&scan);
	return found;
}

static void
appends_add(const char *name, const char *log)
{
	static BulkTable table = {APPENDS_TABLE, appends_columns, APPENDS_COLUMNS, 0, 0, InvalidOid, 0};
	Bulk bulk;

	bulk_begin(&bulk, &table);
	(void) bulk_add(&bulk);
	bulk_set(&bulk, APPENDS_MANAGER, CStringGetTextDatum(name), false);
	bulk_set(&bulk, APPENDS_LOG, CStringGetTextDatum(log), false);
	bulk_end(&bulk);
}

/*
 * Prepares the hash table of what is known.
 */
static void
appends_know(uint64 version)
{
	HASHCTL ctl = {.keysize = sizeof(AppendsKnown), .entrysize = sizeof(AppendsKnown)};

	/* With another handler, the rows of a process manager are deleted (register.c). */
	if (known_is_stale || known_version != version)
		appends_forget_known();
	known_version = version;
	if (known == NULL)
		known = hash_create("pm appends", 16, &ctl, HASH_ELEM | HASH_BLOBS);
}

void
appends_save(const char *name, int manager, uint64 version)
{
	if (count == 0 || !version_has("0.2.0"))
		return;
	appends_know(version);
	for (int i = 0; i < count; i++)
	{
		AppendsKnown key = {.manager = manager, .relid = notes[i].relid};
		char *log;

		if (hash_search(known, &key, HASH_FIND, NULL) != NULL)
			continue;
		log = appends_log_name(key.relid);
		/* A table can have the guard of a log without being one. */
		if (log != NULL && !appends_has(name, log))
			appends_add(name, log);
		/* What was read may have brought invalidations, which have removed nothing yet. */
		(void) hash_search(known, &key, HASH_ENTER, NULL);
		known_is_new = true;
	}
	count = 0;
}

void
appends_forget_manager(const char *name)
{
	static ExecStatement forget = {
		NULL,
		"DELETE FROM pm_catalog.appends WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(name)};

	if (version_has("0.2.0"))
		(void) exec_as_owner(&forget, values, NULL);
}

void
appends_forget_log(const char *name)
{
	static ExecStatement forget = {
		NULL,
		"DELETE FROM pm_catalog.appends WHERE log OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(name)};

	if (version_has("0.2.0"))
		(void) exec_as_owner(&forget, values, NULL);
}
