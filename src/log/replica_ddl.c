/*
 * replica_ddl.c
 *		The triggers and the index of a replica log's table: checks, creates and removes them.
 *
 * The table's owner can drop or change them.  Then the log cannot be read, and the subscription
 * stops, until they are restored.
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
#include "base/extension.h"
#include "log/guard_ddl.h"
#include "log/replica_ddl.h"
#include "log/replica_guard.h"

typedef struct ReplicaTrigger
{
	const char *name;
	const char *when; /* as in CREATE TRIGGER */
	const char *function;
	int16 type; /* pg_trigger.tgtype */
} ReplicaTrigger;

static const ReplicaTrigger replica_triggers[] = {
	{REPLICA_BEGIN_TRIGGER, "BEFORE INSERT ON %s FOR EACH STATEMENT", "arrival_begin",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT},
	{REPLICA_ROW_TRIGGER, "BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW", "arrival",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE |
		 TRIGGER_TYPE_DELETE},
	{REPLICA_END_TRIGGER, "AFTER INSERT ON %s FOR EACH STATEMENT", "arrival_end",
	 TRIGGER_TYPE_INSERT},
};

bool
replica_is_trigger(const char *name)
{
	for (int i = 0; i < lengthof(replica_triggers); i++)
		if (strcmp(name, replica_triggers[i].name) == 0)
			return true;
	return false;
}

/*
 * Does the table have this trigger, for each row or statement, in every session?
 */
static bool
replica_has_trigger(Relation rel, const ReplicaTrigger *wanted)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger *trigger = &desc->triggers[i];
		char *function;

		if (strcmp(trigger->tgname, wanted->name) != 0)
			continue;
		function = get_func_name(trigger->tgfoid);
		return trigger->tgtype == wanted->type && trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			   trigger->tgqual == NULL && trigger->tgnattr == 0 && function != NULL &&
			   strcmp(function, wanted->function) == 0 &&
			   get_func_namespace(trigger->tgfoid) == extension_schema("pm_catalog");
	}
	return false;
}

const char *
replica_missing(Relation rel)
{
	for (int i = 0; i < lengthof(replica_triggers); i++)
		if (!replica_has_trigger(rel, &replica_triggers[i]))
			return replica_triggers[i].name;
	return OidIsValid(replica_origin_index(rel)) ? NULL : "UNIQUE (" REPLICA_ORIGIN ")";
}

/*
 * Each trigger depends on the extension, so that DROP EXTENSION drops it and keeps the table.
 */
void
replica_put_back(Oid relid)
{
	bool present[lengthof(replica_triggers)];
	Relation rel = relation_open(relid, ShareRowExclusiveLock);
	const char *table = guard_qualified_name(relid);
	/* Without the column, the caller reports that. */
	bool indexed = replica_origin_column(rel) == InvalidAttrNumber ||
				   OidIsValid(replica_origin_index(rel));

	for (int i = 0; i < lengthof(replica_triggers); i++)
		present[i] = replica_has_trigger(rel, &replica_triggers[i]);
	/* ALTER TABLE refuses to change a table that this session has open. */
	relation_close(rel, NoLock);

	for (int i = 0; i < lengthof(replica_triggers); i++)
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

	for (int i = 0; i < lengthof(replica_triggers); i++)
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
