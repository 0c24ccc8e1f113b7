/*
 * known_database.c
 *		Keeps a list of the databases of the cluster, and decides which of them needs a scheduler.
 *
 * Only a session in a database can see whether it has the extension.  So a scheduler is
 * started once in each database, and again when CREATE EXTENSION, pm.register or
 * pm.resume in it announces that (slot_database.c).
 *
 * A scheduler that makes room records in shared memory when something is due, and a
 * transaction that finds the scheduler away records that something has happened
 * (slot_database.c).  In both cases the database needs a scheduler at once.  Other
 * databases in which the extension was found get one if there is a worker slot to
 * spare.
 *
 * Template databases get none, because a database with a worker in it cannot be copied.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "shmem/slot_database.h"
#include "shmem/slot_log.h"
#include "shmem/slot_lost.h"
#include "shmem/slot_place.h"
#include "shmem/stat.h"
#include "worker/known_database.h"
#include "worker/worker.h"

/* Does a database need a scheduler that it does not have? */
typedef enum Wants
{
	WANTS_NONE,
	WANTS_SOME_TIME, /* if there is a worker slot to spare */
	WANTS_NOW
} Wants;

void
known_database_begin(KnownDatabases *known)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(KnownDatabase);
	known->table = hash_create("pm databases", 64, &ctl, HASH_ELEM | HASH_BLOBS);
}

static void
known_database_enter(KnownDatabases *known, Oid oid)
{
	bool found;
	KnownDatabase *db = hash_search(known->table, &oid, HASH_ENTER, &found);

	if (!found)
	{
		memset(db, 0, sizeof(KnownDatabase));
		db->database = oid;
		db->backoff = KNOWN_DATABASE_BACKOFF;
	}
	db->there = true;
}

/*
 * Enters the databases of pg_database in which a scheduler can be started.
 * Returns the OIDs of all databases.
 */
static List *
known_database_read(KnownDatabases *known)
{
	Relation rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	HeapTuple tuple;
	List *all = NIL;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		all = lappend_oid(all, form->oid);
		if (form->datallowconn && !form->datistemplate)
			known_database_enter(known, form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return all;
}

void
known_database_scan(KnownDatabases *known)
{
	HASH_SEQ_STATUS seq;
	KnownDatabase *db;
	List *counted;
	List *all;
	ListCell *lc;

	hash_seq_init(&seq, known->table);
	while ((db = hash_seq_search(&seq)) != NULL)
		db->there = false;

	worker_transaction();
	/* Before the snapshot, so that it shows those of these databases that still exist. */
	counted = stat_databases();
	PushActiveSnapshot(GetTransactionSnapshot());
	all = known_database_read(known);
	PopActiveSnapshot();
	slot_database_keep(all);
	/* One that was dropped while no launcher ran is not in the hash table. */
	foreach(lc, counted)
		if (!list_member_oid(all, lfirst_oid(lc)))
			stat_forget_database(lfirst_oid(lc));
	CommitTransactionCommand();

	/* Do this after the transaction, because its end would end this scan of the hash table. */
	hash_seq_init(&seq, known->table);
	while ((db = hash_seq_search(&seq)) != NULL)
		if (!db->there)
		{
			slot_log_forget_database(db->database);
			slot_lost_forget_database(db->database);
			hash_search(known->table, &db->database, HASH_REMOVE, NULL);
		}
}

/*
 * Has something happened in a database whose scheduler has left, or is something
 * due?  Each database also gets a scheduler from time to time, and when the
 * clock was set back.
 */
static bool
known_database_is_due(KnownDatabase *db, DatabaseView *view, TimestampTz now)
{
	return !view->away || view->wanted || view->due <= now || db->sent_at > now ||
		   TimestampDifferenceExceeds(db->sent_at, now, KNOWN_DATABASE_SCAN);
}

/*
 * Does a database need a scheduler?  If it will later, *due is moved to that time.
 */
static Wants
known_database_wants(KnownDatabase *db, uint32 *announced, TimestampTz *due)
{
	DatabaseView view;

	slot_database_view(db->database, &view);
	*announced = view.announced;
	if (view.served)
		return WANTS_NONE;
	/* It is not known whether the database has the extension, or that may have changed. */
	if (!db->looked || view.announced != view.looked)
		return WANTS_NOW;
	if (!view.active)
		return WANTS_NONE;
	/* What is due already must not shorten the launcher's sleep: it waits for something else. */
	if (known_database_is_due(db, &view, GetCurrentTimestamp()))
		return WANTS_NOW;
	*due = Min(*due, view.due);
	return WANTS_SOME_TIME;
}

bool
known_database_any_wants(KnownDatabases *known)
{
	HASH_SEQ_STATUS seq;
	KnownDatabase *db;
	bool wanted = slot_database_any_announced();
	TimestampTz due = DT_NOEND;
	uint32 announced;

	hash_seq_init(&seq, known->table);
	while ((db = hash_seq_search(&seq)) != NULL)
		wanted |= known_database_wants(db, &announced, &due) == WANTS_NOW;
	return wanted;
}

/*
 * May a scheduler be started now in a database that needs one?  If not, *due is
 * moved to the time to check again.
 */
static bool
known_database_may_have(KnownDatabase *db, Wants wants, bool spare, TimestampTz now,
						TimestampTz *due)
{
	TimestampTz later = TimestampTzPlusMilliseconds(now, KNOWN_DATABASE_BACKOFF);

	if (slot_database_held_out(db->database) || (wants == WANTS_SOME_TIME && !spare))
		*due = Min(*due, later);
	else if (db->not_before > now)
		*due = Min(*due, db->not_before);
	else
		return true;
	return false;
}

/*
 * Databases with something to do come first, in the order in which the work
 * arrived.
 */
KnownDatabase *
known_database_next(KnownDatabases *known, uint32 *announced, TimestampTz *due)
{
	HASH_SEQ_STATUS seq;
	KnownDatabase *db;
	KnownDatabase *next = NULL;
	TimestampTz now = GetCurrentTimestamp();
	bool spare = !slot_place_is_scarce() && !slot_place_any_waits();

	hash_seq_init(&seq, known->table);
	while ((db = hash_seq_search(&seq)) != NULL)
	{
		uint32 count;
		Wants wants = known_database_wants(db, &count, due);

		if (wants != WANTS_NOW)
			db->urgent_since = 0;
		else if (db->urgent_since == 0)
			db->urgent_since = now;
		if (wants == WANTS_NONE)
			continue;

		/*
		 * A user may wait for the effect of the announcement, so earlier failures do
		 * not delay it.
		 */
		if (count != db->announced)
		{
			db->announced = count;
			db->not_before = 0;
			db->backoff = KNOWN_DATABASE_BACKOFF;
		}
		if (!known_database_may_have(db, wants, spare, now, due))
			continue;
		if (next == NULL || (wants == WANTS_NOW &&
							 (next->urgent_since == 0 || db->urgent_since < next->urgent_since)))
		{
			next = db;
			*announced = count;
		}
	}
	return next;
}

void
known_database_sent(KnownDatabase *db, uint32 announced)
{
	TimestampTz now = GetCurrentTimestamp();

	db->not_before = TimestampTzPlusMilliseconds(now, db->backoff);
	db->sent_at = now;
	db->urgent_since = 0;
	db->looked = true;
	slot_database_set_looked(db->database, announced);
}

/*
 * A scheduler that left of its own accord, or ran for some time, may be replaced
 * at once.  After one that died soon after its start, the delay is longer each
 * time.
 */
void
known_database_ended(KnownDatabases *known, Oid database, TimestampTz started_at, bool left)
{
	KnownDatabase *db = hash_search(known->table, &database, HASH_FIND, NULL);

	if (db == NULL)
		return;
	if (left)
	{
		/* Even if it left early, because it made room, or found no extension in the database. */
		db->backoff = KNOWN_DATABASE_BACKOFF;
		db->not_before = 0;
	}
	else if (TimestampDifferenceMilliseconds(started_at, GetCurrentTimestamp()) >
			 KNOWN_DATABASE_BACKOFF_MAX)
		db->backoff = KNOWN_DATABASE_BACKOFF;
	else
		db->backoff = Min(db->backoff * 2, KNOWN_DATABASE_BACKOFF_MAX);
}
