/*
 * unattended.c
 *		Warns if no worker will run the process managers of this database.
 */
#include "pm.h"

#include "base/guc.h"
#include "manager/unattended.h"
#include "shmem/slot.h"

/*
 * Warns a user who registers or resumes a process manager that no worker will
 * run it.
 */
void
unattended_warn(const char *manager)
{
	if (!slot_preloaded())
		ereport(WARNING, (errmsg("no worker will run process manager \"%s\"", manager),
						  errdetail("The library of pm is not preloaded."),
						  errhint("Add pm to shared_preload_libraries and restart the server, "
								  "or call pm.catch_up regularly.")));
	else if (!guc_launcher)
		ereport(WARNING,
				(errmsg("no worker will run process manager \"%s\"", manager),
				 errdetail("pm.launcher is off."),
				 errhint("Set pm.launcher = on and reload, or call pm.catch_up regularly.")));
}
