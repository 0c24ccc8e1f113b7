/*
 * launcher.c
 *		The process that starts a scheduler in each database that has the extension.
 *
 * There is one for the cluster.  One scheduler starts at a time, so that a cluster
 * of many databases does not take all worker slots when it starts.
 *
 * If there are too few worker slots for a scheduler in each database, the databases
 * take turns.  A scheduler that has nothing to do leaves as soon as another worker
 * waits for a slot, and known_database.c tells when its database needs one again.
 *
 * The launcher is connected to no database, runs no SQL, and does not end for lack
 * of a worker slot.  It is the only worker that the postmaster restarts.
 */
#include "pm.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "shmem/slot.h"
#include "shmem/slot_activity.h"
#include "shmem/slot_place.h"
#include "shmem/slot_press.h"
#include "shmem/standby.h"
#include "worker/known_database.h"
#include "worker/launcher.h"
#include "worker/worker.h"

/* How long a scheduler may take to start before the next one is started, ms. */
#define LAUNCHER_PATIENCE 500

/* How often to try again while a database with something to do waits for a slot, ms. */
#define LAUNCHER_NAP 50

/* After this time that is reported in the server's log, ms. */
#define LAUNCHER_COMPLAINS 5000

/* After this time the postmaster starts a launcher that has ended again, s. */
#define LAUNCHER_RESTART 5

/* What this process knows. */
typedef struct Launcher
{
	KnownDatabases known;
	List *workers;			/* of StartedWorker: its schedulers */
	TimestampTz scanned;	/* when it last read which databases there are */
	TimestampTz complained; /* when it last reported a lack of worker slots */
} Launcher;

static void
launcher_say_no_slot(Oid database)
{
	char *name;

	/* The end of this transaction would end a scan of the databases; the caller is in none. */
	worker_transaction();
	name = get_database_name(database);
	if (name != NULL)
		ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					  errmsg("pm finds no free background worker slot for a scheduler of database "
							 "\"%s\"",
							 name),
					  errhint("Raise max_worker_processes and restart the server. Until then pm "
							  "tries again.")));
	CommitTransactionCommand();
}

/*
 * Reports that there is no worker slot for a database with something to do.
 * While databases take turns, that is normal, so it is reported only after some
 * time, and only once as long as it lasts.
 */
static void
launcher_complain(Launcher *launcher, KnownDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now - db->urgent_since < LAUNCHER_COMPLAINS * INT64CONST(1000) ||
		(launcher->complained > db->urgent_since && launcher->complained <= now))
		return;
	launcher->complained = now;
	launcher_say_no_slot(db->database);
}

static WorkerStart
launcher_start(Launcher *launcher, KnownDatabase *db)
{
	/* A scheduler that is running gets its dispatcher before another scheduler starts. */
	if (slot_place_schedulers_wait())
		return WORKER_START_NO_SLOT;
	return worker_start(&launcher->workers, WORKER_SCHEDULER, db->database, InvalidOid, 1);
}

/*
 * Starts schedulers while there are worker slots.  Returns when to look again.
 */
static TimestampTz
launcher_round(Launcher *launcher)
{
	KnownDatabase *db;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due = TimestampTzPlusMilliseconds(now, KNOWN_DATABASE_SCAN);
	uint32 announced;
	bool lacks = false;

	while ((db = known_database_next(&launcher->known, &announced, &due)) != NULL)
	{
		/*
		 * One scheduler starts at a time, but the next waits only for some time,
		 * because a database may be locked.
		 */
		if (slot_any_starting(WORKER_SCHEDULER, LAUNCHER_PATIENCE))
		{
			due = Min(due, TimestampTzPlusMilliseconds(now, LAUNCHER_NAP));
			break;
		}
		if (launcher_start(launcher, db) == WORKER_START_STARTED)
		{
			known_database_sent(db, announced);
			continue;
		}
		lacks = db->urgent_since != 0;
		if (lacks)
			launcher_complain(launcher, db);
		due = Min(due,
				  TimestampTzPlusMilliseconds(now, lacks ? LAUNCHER_NAP : KNOWN_DATABASE_BACKOFF));
		break;
	}

	/* Make workers that can leave make room for a scheduler. */
	slot_place_wait(&(PlaceWait){.waits = lacks ? 1 : 0,
								 .for_slot = true,
								 .since = lacks ? db->urgent_since : 0});
	if (lacks)
		slot_press();
	return due;
}

/*
 * Finds out which schedulers have ended.
 */
static void
launcher_reap(Launcher *launcher)
{
	StartedWorker *scheduler;

	/* Schedulers that an earlier launcher has started. */
	slot_unclaim_orphans(WORKER_SCHEDULER, InvalidOid);

	while ((scheduler = worker_gone(&launcher->workers)) != NULL)
	{
		slot_unclaim(scheduler->slot, scheduler->generation);
		known_database_ended(&launcher->known, scheduler->database, scheduler->started_at,
							 worker_left(scheduler));
		pfree(scheduler);
	}
}

static void
launcher_begin(Launcher *launcher)
{
	uint32 generation;
	int slot;

	worker_begin();
	slot = slot_claim(WORKER_LAUNCHER, InvalidOid, InvalidOid, 1, &generation);
	if (slot < 0)
		proc_exit(1);
	slot_attach(slot_arg(slot, generation));
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	worker_show_name();
	known_database_begin(&launcher->known);
	standby_begin();
	slot_activity_set(ACTIVITY_IDLE);
}

/*
 * Entry point of the process.
 */
void
pm_launcher_main(Datum arg)
{
	Launcher launcher = {0};

	launcher_begin(&launcher);
	for (;;)
	{
		long nap = KNOWN_DATABASE_SCAN;

		worker_begin_round();
		launcher_reap(&launcher);
		if (guc_launcher)
		{
			/*
			 * Read the databases before a scheduler is started, because one may have
			 * been dropped.
			 */
			if (known_database_any_wants(&launcher.known) ||
				TimestampDifferenceExceeds(launcher.scanned, GetCurrentTimestamp(),
										   KNOWN_DATABASE_SCAN))
			{
				known_database_scan(&launcher.known);
				launcher.scanned = GetCurrentTimestamp();
			}
			nap = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), launcher_round(&launcher));
		}
		else
		{
			/* pm.launcher was switched off. */
			slot_place_wait(&(PlaceWait){.for_slot = true});
			slot_dismiss_all();
		}
		worker_nap("PmLauncherMain", nap, launcher.workers);
	}
}

void
launcher_register(void)
{
	BackgroundWorker worker;

	/* While pg_upgrade moves the tables, nothing may write to them. */
	if (IsBinaryUpgrade)
		return;
	worker_describe(&worker, WORKER_LAUNCHER);
	worker.bgw_restart_time = LAUNCHER_RESTART;
	RegisterBackgroundWorker(&worker);
}
