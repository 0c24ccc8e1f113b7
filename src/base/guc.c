/*
 * guc.c
 *		The settings.
 *
 * Three settings can only be set at server start: pm.max_logs and pm.max_stats, which
 * determine the size of shared memory, and pm.max_workers, which must be the same for all
 * databases at any time.  The others can be changed by a reload.
 */
#include "pm.h"

#include "utils/guc.h"

#include "base/guc.h"

int guc_max_workers = 4;
int guc_max_logs = 16384;
int guc_max_stats = 16384;
int guc_poll_interval = 1000;
int guc_batch_duration = 100;
int guc_log_min_duration = -1;
int guc_promotion_gap = 10000000;
int guc_promotion_wait = 10000;
bool guc_launcher = true;

/*
 * Called from _PG_init(), whether the library is preloaded or not.
 */
void
guc_define(void)
{
	/* PGC_POSTMASTER settings cannot be defined after the postmaster has started. */
	DefineCustomIntVariable(
		"pm.max_workers", "Maximum number of dispatchers that run at once in the cluster.",
		"The launcher and a scheduler for each database are not counted; all of them use "
		"max_worker_processes.",
		&guc_max_workers, 4, 1, 250,
		process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"pm.max_logs",
		"Number of event logs whose marks can be kept in shared memory, in the whole cluster.",
		"Further logs share their wake-ups, and cost each session more.", &guc_max_logs, 16384, 16,
		1024 * 1024, process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
		NULL, NULL, NULL);
	DefineCustomIntVariable(
		"pm.max_stats",
		"Number of lanes of process managers whose counters can be kept, in the whole cluster.",
		"If there are more, the role that has the most of them loses counters.", &guc_max_stats,
		16384, 16, 1024 * 1024,
		process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"pm.log_min_duration", "Logs calls of handlers that take at least this long.",
		"-1 logs none. The process manager, the log, the position and the key are logged.",
		&guc_log_min_duration, -1, -1, INT_MAX, PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pm.poll_interval",
							"How often a dispatcher looks for events that no wake-up announced.",
							NULL, &guc_poll_interval, 1000, 10, 3600 * 1000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("pm.batch_duration",
							"A batch is committed after this time at the latest.",
							"A handler that is running is not interrupted.", &guc_batch_duration,
							100, 1, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"pm.promotion_gap", "Number of positions that each event log skips after a promotion.",
		"The old primary may have drawn them for events that were lost. The same number is "
		"skipped again for each 10 s since the last commit that was received.",
		&guc_promotion_gap, 10000000, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pm.promotion_wait",
							"How long after a promotion to wait for a standby.",
							"Events that may have been in hand before the promotion are handled "
							"when a standby follows this server, or after this time.",
							&guc_promotion_wait, 10000, 0, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("pm.launcher",
							 "Starts the background workers that run process managers.", NULL,
							 &guc_launcher, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("pm");
}
