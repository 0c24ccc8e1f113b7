/*
 * attach_trigger.c
 *		The trigger on an attached table that wakes readers.
 *
 * Without the trigger, readers look for new events every pm.poll_interval.  So it is not
 * worth making writers wait: if the request for the lock waited in the queue, all later
 * writers would wait behind it.  If the lock cannot be acquired within a short time, a later
 * call creates the trigger.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "base/identifier.h"
#include "log/attach_check.h"
#include "log/attach_trigger.h"
#include "shmem/wakeup.h"

/* How often the lock is asked for, and the time between two attempts, in ms. */
#define ATTACH_TRIGGER_TRIES 100
#define ATTACH_TRIGGER_PAUSE 10

PG_FUNCTION_INFO_V1(pm_attach_after_write);

static bool
attach_trigger_lock(Oid relid, LOCKMODE mode)
{
	for (int i = 0; i < ATTACH_TRIGGER_TRIES; i++)
	{
		if (ConditionalLockRelationOid(relid, mode))
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(ATTACH_TRIGGER_PAUSE * 1000L);
	}
	return false;
}

static bool
attach_trigger_exists(Oid relid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	bool exists = attach_has_trigger(rel);

	relation_close(rel, NoLock);
	return exists;
}

/*
 * Runs with the caller's rights, and so checks that the caller owns the table.  The commands
 * name the table, and its schema can be renamed although the table is locked; then the
 * trigger is not found afterwards, and the error undoes it.
 */
void
attach_trigger_make(Oid relid)
{
	const char *table;
	ExecScope scope;

	if (attach_trigger_exists(relid))
		return;
	if (!attach_trigger_lock(relid, AccessExclusiveLock))
	{
		ereport(NOTICE,
				(errmsg("table \"%s\" is in use, so it gets no trigger that wakes readers",
						get_rel_name(relid)),
				 errdetail("Readers look for new events every pm.poll_interval."),
				 errhint("The same call of pm.attach_log creates the trigger when the table is "
						 "not in use.")));
		return;
	}
	table = identifier_of_relation(relid);
	exec_begin_caller(&scope);
	exec_command(psprintf("CREATE OR REPLACE TRIGGER %s AFTER INSERT ON %s FOR EACH STATEMENT "
						  "EXECUTE FUNCTION pm_catalog.after_write()",
						  ATTACH_TRIGGER, table));
	exec_command(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, ATTACH_TRIGGER));
	exec_command(psprintf("ALTER TRIGGER %s ON %s DEPENDS ON EXTENSION pm", ATTACH_TRIGGER, table));
	exec_end(&scope);
	CommandCounterIncrement();
	if (!attach_trigger_exists(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the trigger of table \"%s\" could not be made", get_rel_name(relid)),
				 errhint("If its schema has just been renamed, try again.")));
}

void
attach_trigger_remove(Oid relid)
{
	const char *table = identifier_of_relation(relid);
	ExecScope scope;

	if (!attach_trigger_exists(relid))
		return;
	if (!attach_trigger_lock(relid, AccessExclusiveLock))
	{
		ereport(NOTICE,
				(errmsg("table \"%s\" is in use, so it keeps the trigger that wakes readers",
						get_rel_name(relid)),
				 errhint("The trigger does no harm. DROP TRIGGER %s ON %s removes it.",
						 ATTACH_TRIGGER, table)));
		return;
	}
	exec_begin_caller(&scope);
	exec_command(psprintf("DROP TRIGGER IF EXISTS %s ON %s", ATTACH_TRIGGER, table));
	exec_end(&scope);
}

/*
 * AFTER INSERT FOR EACH STATEMENT: wakes the readers when the transaction ends.
 */
Datum
pm_attach_after_write(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(data->tg_event) || !TRIGGER_FIRED_BY_INSERT(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pm_catalog.after_write is a trigger AFTER INSERT FOR EACH STATEMENT")));
	wakeup_log(RelationGetRelid(data->tg_relation));
	return PointerGetDatum(NULL);
}
