/*
 * replica_ddl.c
 *		The triggers and the index of a replica log's table: creates and removes them.
 *
 * The table's owner can drop or change them.  Then the log cannot be read, and the subscription
 * stops, until they are restored (replica_check.c).
 */
#include "pm.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/exec.h"
#include "log/guard_ddl.h"
#include "log/replica_check.h"
#include "log/replica_ddl.h"

/*
 * Each trigger depends on the extension, so that DROP EXTENSION drops it and keeps the table.
 */
void
replica_put_back(Oid relid)
{
	bool present[REPLICA_TRIGGERS];
	Relation rel = relation_open(relid, ShareRowExclusiveLock);
	const char *table = guard_qualified_name(relid);
	/* If the column is missing, the caller reports that. */
	bool indexed = replica_origin_column(rel) == InvalidAttrNumber ||
				   OidIsValid(replica_origin_index(rel));

	for (int i = 0; i < REPLICA_TRIGGERS; i++)
		present[i] = replica_has_trigger(rel, &replica_triggers[i]);
	/* ALTER TABLE refuses to change a table that this session has open. */
	relation_close(rel, NoLock);

	for (int i = 0; i < REPLICA_TRIGGERS; i++)
	{
		const ReplicaTrigger *trigger = &replica_triggers[i];

		if (present[i])
			continue;
		exec_command(psprintf("CREATE OR REPLACE TRIGGER %s %s EXECUTE FUNCTION pm_catalog.%s()",
							  trigger->name, psprintf(trigger->when, table), trigger->function));
		exec_command(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, trigger->name));
		exec_command(
			psprintf("ALTER TRIGGER %s ON %s DEPENDS ON EXTENSION pm", trigger->name, table));
	}
	if (!indexed)
		exec_command(psprintf("ALTER TABLE %s ADD UNIQUE (" REPLICA_ORIGIN ")", table));
	CommandCounterIncrement();
}

void
replica_take_off(Oid relid)
{
	const char *table = guard_qualified_name(relid);

	for (int i = 0; i < REPLICA_TRIGGERS; i++)
		if (OidIsValid(get_trigger_oid(relid, replica_triggers[i].name, true)))
			exec_command(psprintf("DROP TRIGGER %s ON %s", replica_triggers[i].name, table));
	CommandCounterIncrement();
}

void
replica_refuse_append(PmLog *log)
{
	if (log->kind == LOG_REPLICA)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot append to replica log \"%s\"", log->name),
				 errdetail("Only a subscription writes to it."),
				 errhint(
					 "Append the event at the publisher. To tell the publisher something, append "
					 "to another log of this database, to which the publisher's database "
					 "subscribes.")));
}
