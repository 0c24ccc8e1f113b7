/*
 * unregister.c
 *		pm.unregister: deletes a process manager.
 *
 * pm.unregister waits for the batches that run.  Later batches find the process
 * manager gone when this transaction has committed.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "log/appends.h"
#include "log/name_right.h"
#include "manager/kept.h"
#include "manager/lease.h"
#include "manager/manager_lock.h"
#include "manager/note.h"
#include "manager/repartition.h"
#include "manager/sent.h"
#include "manager/shell_type.h"
#include "manager/unregister.h"
#include "shmem/stat.h"

PG_FUNCTION_INFO_V1(pm_unregister);

/*
 * Deletes the rows of a process manager in all private tables, and its type.
 */
void
unregister(ProcessManager *pm)
{
	static ExecStatement delete_manager = {
		NULL,
		"WITH c AS (DELETE FROM pm_catalog.cursor "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1), "
		"l AS (DELETE FROM pm_catalog.lane "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1) "
		"DELETE FROM pm_catalog.process_manager "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(pm->name)};

	/* What open transactions have sent must not be left behind. */
	if (sent_known())
		manager_lock_out_senders(pm->id);
	kept_delete(pm->name);
	appends_forget_manager(pm->name);
	repartition_forget(pm->name, NULL);
	lease_void(pm);
	note_void(pm->name);
	name_right_unuse(pm->name);
	(void) exec_as_owner(&delete_manager, values, NULL);
	stat_forget(pm->name, 0, pm->lanes);
	shell_type_drop(pm->name);
	registry_changed();
}

/*
 * pm.unregister(name)
 */
Datum
pm_unregister(PG_FUNCTION_ARGS)
{
	unregister(manager_lock_for("pm.unregister", text_to_cstring(PG_GETARG_TEXT_PP(0))));
	PG_RETURN_VOID();
}
