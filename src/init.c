/*
 * init.c
 *		Loading the library.
 */
#include "pm.h"

#include "miscadmin.h"

#include "base/effect.h"
#include "base/extension.h"
#include "base/guc.h"
#include "base/pinned.h"
#include "base/report.h"
#include "base/version.h"
#include "log/appends.h"
#include "log/guard.h"
#include "log/guard_row.h"
#include "log/log_cache.h"
#include "log/partition.h"
#include "manager/erase_commit.h"
#include "manager/finished.h"
#include "manager/handler_find.h"
#include "manager/head.h"
#include "manager/registry.h"
#include "manager/registry_kept.h"
#include "manager/timer_floor.h"
#include "shmem/crash.h"
#include "shmem/slot.h"
#include "shmem/slot_pin.h"
#include "shmem/stat.h"
#include "shmem/wakeup.h"
#include "worker/launcher.h"
#include "worker/utility.h"

COMPAT_MODULE_MAGIC("pm", PM_VERSION);

extern PGDLLEXPORT void _PG_init(void);

/*
 * Runs in the postmaster if the library is preloaded, else in each backend that calls
 * a function of the library.  Only a preloaded library has shared memory and workers.
 */
void
_PG_init(void)
{
	/* Settings come first, because the size of shared memory depends on one of them. */
	guc_define();
	extension_install();
	version_install();
	partition_install();
	guard_install();
	guard_row_install();
	handler_find_install();
	log_cache_install();
	head_install();
	timer_floor_install();
	erase_commit_install();
	effect_install();
	appends_install();
	finished_install();
	pinned_install();
	registry_install();
	registry_kept_install();
	wakeup_install();
	slot_pin_install();
	if (process_shared_preload_libraries_in_progress)
	{
		slot_install();
		report_install();
		crash_install();
		/*
		 * This comes after wakeup_install(), because callbacks run in reverse order: the
		 * counters of the transaction are added before other processes are woken.
		 */
		stat_install();
		utility_install_hook();
		launcher_register();
	}
}

PG_FUNCTION_INFO_V1(pm_announce);

/*
 * Called by the scripts of the extension: the launcher looks at this database, and
 * backends look for the version that the extension has now.
 */
Datum
pm_announce(PG_FUNCTION_ARGS)
{
	wakeup_announce();
	version_changed();
	PG_RETURN_VOID();
}
