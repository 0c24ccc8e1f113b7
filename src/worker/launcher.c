/*
 * launcher.c
 *		One a cluster: finds the databases that have pm, and keeps a scheduler
 *		in each.
 *
 * Whether a database has the extension can only be seen from inside, so a
 * scheduler is sent in: it stays, or finds nothing and goes.  That happens once
 * for each database, and again when its CREATE EXTENSION (or pm.register, or
 * pm.resume) announces itself.  One scheduler starts at a time, so that a
 * cluster of many databases does not take all worker slots at its start.
 *
 * Where there are too few worker slots for a scheduler in each database, they
 * take turns.  One that has nothing to do leaves as soon as somebody waits for a
 * slot, and leaves behind when something is due; a writer that finds it away
 * says so (slot_database.c).  Databases where something has happened, or is due,
 * get a scheduler in the order in which that became so.  The others get one when
 * there are slots to spare, and are looked at once a minute.
 *
 * Templates are left alone: nobody could copy one with a worker in it.
 *
 * It has no database of its own, runs no SQL and never dies of a lack of
 * slots.  It is the only worker that the postmaster restarts.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/dbcommands.h"
#include "storage/ipc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_database.h"
#include "shmem/slot_log.h"
#include "shmem/slot_lost.h"
#include "shmem/slot_place.h"
#include "worker/launcher.h"
#include "worker/worker.h"

/* How often it looks for databases that nobody announced, in ms. */
#define LAUNCHER_SCAN 60000
/* Between two starts in the same database, and after a lack of slots. */
#define LAUNCHER_BACKOFF	 1000
#define LAUNCHER_BACKOFF_MAX 30000
/* How long a scheduler may take to start before others do. */
#define LAUNCHER_PATIENCE 500
/* While a database waits for a worker slot, ms. */
#define LAUNCHER_NAP 50
/* Before it complains of that, ms. */
#define LAUNCHER_COMPLAINS 5000

/* What this process remembers of a database. */
typedef struct KnownDatabase
{
	Oid database; /* hash key */
	bool there;	  /* in the last scan */
	bool looked;
	TimestampTz not_before; /* when to send the next scheduler */
	long backoff;
	uint32 announced;		  /* the last announcement taken in */
	TimestampTz urgent_since; /* something is to be done in it, 0: nothing is known */
	TimestampTz sent_at;	  /* the last scheduler */
} KnownDatabase;

/* Does a database want a scheduler that it does not have? */
typedef enum LauncherWants
{
	WANTS_NONE,
	WANTS_SOME_TIME, /* if there is a worker slot to spare */
	WANTS_NOW
} LauncherWants;

static HTAB *known;
static List *workers = NIL;

/*
 * Reads pg_database; forgets what is gone.
 */
static void
launcher_scan(void)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;
	HASH_SEQ_STATUS seq;
	KnownDatabase *db;
	List *there = NIL;

	hash_seq_init(&seq, known);
	while ((db = hash_seq_search(&seq)) != NULL)
		db->there = false;

	worker_transaction();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		bool found;

		there = lappend_oid(there, form->oid);
		if (!form->datallowconn || form->datistemplate)
			continue;
		db = hash_search(known, &form->oid, HASH_ENTER, &found);
		if (!found)
		{
			db->looked = false;
			db->not_before = 0;
			db->backoff = LAUNCHER_BACKOFF;
			db->announced = 0;
			db->urgent_since = db->sent_at = 0;
		}
		db->there = true;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	slot_database_keep(there);
	PopActiveSnapshot();
	CommitTransactionCommand();

	hash_seq_init(&seq, known);
	while ((db = hash_seq_search(&seq)) != NULL)
		if (!db->there)
		{
			slot_log_forget_database(db->database);
			slot_lost_forget_database(db->database);
			hash_search(known, &db->database, HASH_REMOVE, NULL);
		}
}

/*
 * Has something happened in a database whose scheduler has left, or is it due?
 * Now and then it is looked at anyway: the clock can be set.
 */
static bool
launcher_is_due(KnownDatabase *db, DatabaseView *view, TimestampTz now)
{
	return !view->away || view->wanted || view->due <= now || db->sent_at > now ||
		   TimestampDifferenceExceeds(db->sent_at, now, LAUNCHER_SCAN);
}

static LauncherWants
launcher_wants(KnownDatabase *db, uint32 *announced, TimestampTz *due)
{
	DatabaseView view;

	slot_database_view(db->database, &view);
	*announced = view.announced;
	if (view.served)
		return WANTS_NONE;
	if (!db->looked || view.announced != view.looked)
		return WANTS_NOW;
	if (!view.active)
		return WANTS_NONE;
	*due = Min(*due, view.due);
	return launcher_is_due(db, &view, GetCurrentTimestamp()) ? WANTS_NOW : WANTS_SOME_TIME;
}

/*
 * Is there anything to start?  Then what databases there are is looked at
 * first: one may have been dropped.
 */
static bool
launcher_any_wanted(void)
{
	HASH_SEQ_STATUS seq;
	KnownDatabase *db;
	bool wanted = slot_database_any_announced();
	TimestampTz due = DT_NOEND;
	uint32 announced;

	hash_seq_init(&seq, known);
	while ((db = hash_seq_search(&seq)) != NULL)
		wanted |= launcher_wants(db, &announced, &due) == WANTS_NOW;
	return wanted;
}

/*
 * Not in the midst of a scan of the databases: the end of a transaction ends all
 * scans of hash tables.
 */
static void
launcher_say_no_slot(Oid database)
{
	char *name;

	worker_transaction();
	name = get_database_name(database);
	if (name != NULL)
		ereport(
			LOG,
			(errmsg("pm finds no free background worker slot for a scheduler of database \"%s\"",
					name),
			 errhint("Raise max_worker_processes; it is tried again.")));
	CommitTransactionCommand();
}

/*
 * The database that is to get a scheduler next, or NULL.  *due is moved to when
 * to look again.
 */
static KnownDatabase *
launcher_next(TimestampTz *due, uint32 *announced)
{
	HASH_SEQ_STATUS seq;
	KnownDatabase *db;
	KnownDatabase *next = NULL;
	TimestampTz now = GetCurrentTimestamp();
	bool spare = !slot_place_is_scarce() && !slot_place_any_waits();

	hash_seq_init(&seq, known);
	while ((db = hash_seq_search(&seq)) != NULL)
	{
		uint32 count;
		LauncherWants wants = launcher_wants(db, &count, due);

		if (wants == WANTS_NOW && db->urgent_since == 0)
			db->urgent_since = now;
		else if (wants != WANTS_NOW)
			db->urgent_since = 0;
		if (wants == WANTS_NONE)
			continue;
		if (count != db->announced)
		{
			/* Somebody waits for it: now, whatever came before. */
			db->announced = count;
			db->not_before = 0;
			db->backoff = LAUNCHER_BACKOFF;
		}
		if (slot_database_held_out(db->database))
			*due = Min(*due, TimestampTzPlusMilliseconds(now, LAUNCHER_BACKOFF));
		else if (wants == WANTS_SOME_TIME && !spare)
			*due = Min(*due, TimestampTzPlusMilliseconds(now, LAUNCHER_BACKOFF));
		else if (db->not_before > now)
			*due = Min(*due, db->not_before);
		else if (next == NULL || (wants == WANTS_NOW && (next->urgent_since == 0 ||
														 db->urgent_since < next->urgent_since)))
		{
			next = db;
			*announced = count;
		}
	}
	return next;
}

/*
 * There is no worker slot for a database where something is to be done.  That is
 * nothing to tell of while they take turns.
 */
static void
launcher_complain(KnownDatabase *db, TimestampTz now)
{
	static TimestampTz complained = 0;

	if (now - db->urgent_since < LAUNCHER_COMPLAINS * INT64CONST(1000) ||
		(complained > db->urgent_since && complained <= now))
		return;
	complained = now;
	launcher_say_no_slot(db->database);
}

/*
 * Starts what is to be started.  Returns when to look again.
 */
static TimestampTz
launcher_round(void)
{
	KnownDatabase *db;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = TimestampTzPlusMilliseconds(now, LAUNCHER_SCAN);
	uint32 announced;
	bool lacks = false;

	while ((db = launcher_next(&due, &announced)) != NULL)
	{
		WorkerStart start;

		/* One starts at a time, but not for ever: it may find its database locked. */
		if (slot_any_starting(WORKER_SCHEDULER, LAUNCHER_PATIENCE))
		{
			due = Min(due, TimestampTzPlusMilliseconds(now, LAUNCHER_NAP));
			break;
		}
		/* A scheduler that is there already gets its dispatcher first. */
		start = slot_place_schedulers_wait() ?
					WORKER_START_NO_SLOT :
					worker_start(&workers, WORKER_SCHEDULER, db->database, InvalidOid, 1);
		if (start == WORKER_START_STARTED)
		{
			db->not_before = TimestampTzPlusMilliseconds(now, db->backoff);
			db->sent_at = now;
			db->urgent_since = 0;
			db->looked = true;
			slot_database_set_looked(db->database, announced);
			continue;
		}
		lacks = db->urgent_since != 0;
		if (lacks)
			launcher_complain(db, now);
		due = Min(due, TimestampTzPlusMilliseconds(now, lacks ? LAUNCHER_NAP : LAUNCHER_BACKOFF));
		break;
	}
	slot_place_wait(lacks ? 1 : 0, true, InvalidOid, lacks ? db->urgent_since : 0);
	if (lacks)
		slot_place_press();
	return due;
}

/*
 * Notes which schedulers have ended.  One that left because it was asked to,
 * or lived for a while, may be replaced at once; one that died young is given
 * more time each time.
 */
static void
launcher_reap(void)
{
	StartedWorker *member;

	/* Of a launcher before us. */
	slot_unclaim_orphans(WORKER_SCHEDULER, InvalidOid);

	while ((member = worker_gone(&workers)) != NULL)
	{
		KnownDatabase *db = hash_search(known, &member->database, HASH_FIND, NULL);
		TimestampTz now = GetCurrentTimestamp();

		slot_unclaim(member->slot, member->generation);
		if (db != NULL)
		{
			if (worker_left(member))
			{
				db->backoff = LAUNCHER_BACKOFF;
				db->not_before = 0;
			}
			else if (TimestampDifferenceMilliseconds(member->started_at, now) >
					 LAUNCHER_BACKOFF_MAX)
				db->backoff = LAUNCHER_BACKOFF;
			else
				db->backoff = Min(db->backoff * 2, LAUNCHER_BACKOFF_MAX);
		}
		pfree(member);
	}
}

void
pm_launcher_main(Datum arg)
{
	HASHCTL ctl;
	uint32 generation;
	int slot;
	TimestampTz scanned = 0;

	worker_begin();
	slot = slot_claim(WORKER_LAUNCHER, InvalidOid, InvalidOid, 1, &generation);
	if (slot < 0)
		proc_exit(1);
	slot_attach(slot_arg(slot, generation));
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(KnownDatabase);
	known = hash_create("pm databases", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	slot_activity_set(ACTIVITY_IDLE);

	for (;;)
	{
		long nap = LAUNCHER_SCAN;

		worker_begin_round();
		launcher_reap();
		if (guc_launcher)
		{
			if (launcher_any_wanted() ||
				TimestampDifferenceExceeds(scanned, GetCurrentTimestamp(), LAUNCHER_SCAN))
			{
				launcher_scan();
				scanned = GetCurrentTimestamp();
			}
			nap = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), launcher_round());
		}
		else
		{
			slot_place_wait(0, true, InvalidOid, 0);
			/* pm.launcher was switched off. */
			slot_dismiss_all();
		}
		worker_nap("PmLauncherMain", nap, workers);
	}
}

/*
 * Called from _PG_init while the postmaster preloads.
 */
void
launcher_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "pm", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pm_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "pm launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pm launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
