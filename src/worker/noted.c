/*
 * noted.c
 *		Forgets, when a dispatcher ends, for which item it was about to call a handler.
 *
 * A note (lane_try.c) that is left when the server is lost counts as a crash.  If the
 * server is shut down during the call, as in a switch-over, or if only the dispatcher
 * ends, the handler is not the cause.  A process that crashes, or that is killed or gets
 * SIGQUIT, does not come here.
 */
#include "pm.h"

#include "access/xact.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "manager/lane_try.h"
#include "manager/manager_lock.h"
#include "worker/noted.h"
#include "worker/worker.h"

/* The unit that has a note; the id is 0 if there is none. */
static struct
{
	int manager;
	int lane;
	char name[NAMEDATALEN];
} noted;

/*
 * The server may be shutting down, and must not wait for a standby.  What is committed
 * here is sent before the standbys are left, so the next primary has it.
 */
static void
noted_forget(int code, Datum arg)
{
	if (noted.manager == 0)
		return;
	AbortOutOfAnyTransaction();
	worker_transaction();
	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	if (manager_lock_unit(noted.manager, noted.lane, true))
		lane_try_forget(noted.name, noted.lane);
	CommitTransactionCommand();
	noted.manager = 0;
}

void
noted_install(void)
{
	before_shmem_exit(noted_forget, (Datum) 0);
}

void
noted_set(const Unit *unit)
{
	noted.manager = unit == NULL ? 0 : unit->pm->id;
	if (unit == NULL)
		return;
	noted.lane = unit->lane;
	strlcpy(noted.name, unit->pm->name, sizeof(noted.name));
}
