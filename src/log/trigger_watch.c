/*
 * trigger_watch.c
 *		Notices commands on the extension's triggers.
 *
 * An owner can drop, disable or rename a trigger of a log's table or of a partition.  PostgreSQL
 * sends an invalidation, but a process that sleeps does not look at it.  Without the trigger, no
 * writer wakes that process.  So when the command commits, all processes look at their logs
 * again, and poll those that have no trigger to wake them.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/extension.h"
#include "log/trigger_watch.h"
#include "shmem/wakeup.h"

static object_access_hook_type prev_object_access;

/*
 * Does the trigger call a function of the extension?  While a command changes the trigger, this
 * still reads the old row.
 */
static bool
trigger_watch_is_ours(Oid trigger)
{
	Relation rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool ours = false;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		ours = get_func_namespace(((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid) ==
			   extension_schema("pm_catalog");
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return ours;
}

static void
trigger_watch_access(ObjectAccessType access, Oid class, Oid object, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, subid, arg);
	if (class == TriggerRelationId && (access == OAT_DROP || access == OAT_POST_ALTER) &&
		OidIsValid(extension_schema("pm_catalog")) && trigger_watch_is_ours(object))
		wakeup_registry();
}

void
trigger_watch_install(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = trigger_watch_access;
}
