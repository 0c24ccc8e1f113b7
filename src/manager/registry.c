/*
 * registry.c
 *		Process managers: catalog rows to structs, who may change them, locks.
 *
 * The unit of dispatch and of locking is (process manager, lane).  Whoever
 * runs a unit, or changes what its run depends on (settings, cursors, state),
 * holds its lock until the end of the transaction.  The lock is one of the
 * lock manager's, on the object (process_manager table, id, lane): it can be
 * tried without waiting, takes part in deadlock detection, shows in pg_locks
 * and writes nothing.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/extension.h"
#include "manager/registry.h"
#include "shmem/slot.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_registry_before_change);

static uint64 version = 1;
static Oid catalog_relid = InvalidOid;
static Oid log_relid = InvalidOid;

static void
registry_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == catalog_relid || relid == log_relid)
		version++;
}

void
registry_install(void)
{
	CacheRegisterRelcacheCallback(registry_relcache_callback, (Datum) 0);
}

/*
 * Rises whenever what registry_load() returned may have changed.
 */
uint64
registry_version(void)
{
	return version;
}

/*
 * Tells every backend, at commit, that a registration has changed, and wakes
 * the workers.
 */
void
registry_changed(void)
{
	CacheInvalidateRelcacheByRelid(exec_catalog_relid("process_manager"));
	wakeup_registry();
}

static int64
registry_ms(Datum interval)
{
	Interval *i = DatumGetIntervalP(interval);

	return i->time / 1000 + (int64) i->day * (USECS_PER_DAY / 1000) +
		   (int64) i->month * DAYS_PER_MONTH * (USECS_PER_DAY / 1000);
}

/*
 * The type that stands for a process manager (owner.c), or InvalidOid.
 */
Oid
registry_type(const char *name)
{
	Oid nsp = extension_schema(REGISTRY_TYPES);

	return !OidIsValid(nsp) ? InvalidOid :
							  GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
											  ObjectIdGetDatum(nsp));
}

/*
 * The role whose process manager it is in this database, or InvalidOid.
 */
static Oid
registry_owner(ProcessManager *pm, Oid registered)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(registry_type(pm->name)));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
		ReleaseSysCache(tuple);
	}
	else if (pm->at_home)
		owner = registered;
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		owner = InvalidOid;
	if (pm->at_home || (OidIsValid(owner) && !superuser_arg(owner)))
		return owner;

	/*
	 * In a copy the OID in the row is somebody else's.  A superuser may own the
	 * type only because he restored a dump without its owners.
	 */
	return get_role_oid(pm->owner_name, true);
}

/*
 * Finds out whose it is.
 */
static void
registry_set_owner(ProcessManager *pm, Oid registered)
{
	pm->owner = registry_owner(pm, registered);
	if (OidIsValid(pm->owner))
		pm->owner_name = GetUserNameFromId(pm->owner, false);

	/*
	 * Given to a superuser past the registration, it must not run somebody's
	 * code as that before a superuser says so (handler.c).
	 */
	if (pm->at_home && pm->owner != registered && superuser_arg(pm->owner) &&
		!superuser_arg(registered))
		pm->found_handler.registered_owner = pm->found_correlate.registered_owner = InvalidOid;
}

#define REGISTRY_FORMER_LANES                                                                      \
	"SELECT process_manager, log, lanes, lane, position FROM pm_catalog.former_lane"

/*
 * Adds what is known of past lanes to process managers that have just been
 * loaded, all or the one of that name.
 */
static void
registry_load_former_lanes(List *managers, const char *name)
{
	static ExecStatement select_all = {NULL, REGISTRY_FORMER_LANES, 0, {0}};
	static ExecStatement select_by_name = {NULL,
										   REGISTRY_FORMER_LANES
										   " WHERE process_manager OPERATOR(pg_catalog.=) $1",
										   1,
										   {TEXTOID}};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	Datum values[1] = {name ? CStringGetTextDatum(name) : (Datum) 0};
	bool isnull;

	exec_begin_owner(&scope);
	exec_statement(name ? &select_by_name : &select_all, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char *manager = exec_text(row, 1);
		ListCell *lc;

		foreach(lc, managers)
		{
			ProcessManager *pm = lfirst(lc);
			MemoryContext spi;
			FormerLane *past;

			if (strcmp(pm->name, manager) != 0)
				continue;
			spi = MemoryContextSwitchTo(caller);
			past = palloc(sizeof(FormerLane));
			past->log = exec_text(row, 2);
			past->lanes = DatumGetInt32(exec_value(row, 3, &isnull));
			past->lane = DatumGetInt32(exec_value(row, 4, &isnull));
			past->position = DatumGetInt64(exec_value(row, 5, &isnull));
			pm->former_lanes = lappend(pm->former_lanes, past);
			MemoryContextSwitchTo(spi);
		}
	}
	exec_end(&scope);
}

/* The columns that registry_select() takes apart. */
#define REGISTRY_SELECT                                                                                 \
	"SELECT p.id, p.name, p.owner, p.owner_name::pg_catalog.text, p.handler, p.handler_kind, p.types, " \
	"p.on_failure, p.max_attempts, p.backoff, p.handler_timeout, p.batch_size, p.lanes, p.paused, "     \
	"p.system_identifier, p.database, "                                                                 \
	"p.logs, p.correlate, p.park_limit, "                                                               \
	"p.handler_owner, p.correlate_owner "                                                               \
	"FROM pm_catalog.process_manager p"

/*
 * Process managers by owner or by name, whichever is given; both InvalidOid
 * and NULL: all.  In the caller's memory context.
 */
static List *
registry_select(Oid owner, const char *name)
{
	/* One each, so that every one of them goes along an index. */
	static ExecStatement select_all = {NULL, REGISTRY_SELECT " ORDER BY p.id", 0, {0}};
	static ExecStatement select_by_owner =
		{NULL,
		 REGISTRY_SELECT " WHERE p.owner OPERATOR(pg_catalog.=) $1 ORDER BY p.id",
		 1,
		 {OIDOID}};
	static ExecStatement select_by_name = {NULL,
										   REGISTRY_SELECT
										   " WHERE p.name OPERATOR(pg_catalog.=) $1",
										   1,
										   {TEXTOID}};
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	Datum values[1] = {name ? CStringGetTextDatum(name) : ObjectIdGetDatum(owner)};
	List *result = NIL;
	bool isnull;
	uint64 as_of = version;

	exec_begin_owner(&scope);
	catalog_relid = exec_catalog_relid("process_manager");
	log_relid = exec_catalog_relid("log");
	exec_statement(name				 ? &select_by_name :
				   OidIsValid(owner) ? &select_by_owner :
									   &select_all,
				   values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		ProcessManager *pm = palloc0(sizeof(ProcessManager));
		Datum value;

		pm->version = as_of;
		pm->id = DatumGetInt32(exec_value(row, 1, &isnull));
		pm->name = exec_text(row, 2);
		pm->owner_name = exec_text(row, 4);
		pm->handler = exec_text(row, 5);
		pm->kind = (HandlerKind) DatumGetChar(exec_value(row, 6, &isnull));
		value = exec_value(row, 7, &isnull);
		pm->types = isnull ? (Datum) 0 : PointerGetDatum(DatumGetArrayTypePCopy(value));
		pm->halt_on_failure = strcmp(exec_text(row, 8), "halt") == 0;
		pm->max_attempts = DatumGetInt32(exec_value(row, 9, &isnull));
		pm->backoff = registry_ms(exec_value(row, 10, &isnull));
		pm->handler_timeout = registry_ms(exec_value(row, 11, &isnull));
		pm->batch_size = DatumGetInt32(exec_value(row, 12, &isnull));
		pm->lanes = DatumGetInt32(exec_value(row, 13, &isnull));
		pm->paused = DatumGetBool(exec_value(row, 14, &isnull));
		pm->at_home = DatumGetInt64(exec_value(row, 15, &isnull)) ==
						  (int64) GetSystemIdentifier() &&
					  DatumGetObjectId(exec_value(row, 16, &isnull)) == MyDatabaseId;
		pm->correlate = exec_text(row, 18);
		pm->park_limit = DatumGetInt32(exec_value(row, 19, &isnull));
		value = exec_value(row, 20, &isnull);
		pm->found_handler.registered_owner = isnull ? InvalidOid : DatumGetObjectId(value);
		value = exec_value(row, 21, &isnull);
		pm->found_correlate.registered_owner = isnull ? InvalidOid : DatumGetObjectId(value);
		registry_set_owner(pm, DatumGetObjectId(exec_value(row, 3, &isnull)));
		value = exec_value(row, 17, &isnull);
		if (!isnull)
		{
			Datum *names;
			int count;

			deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &names,
							  NULL, &count);
			for (int i = 0; i < count; i++)
				pm->logs = lappend(pm->logs, TextDatumGetCString(names[i]));
		}
		result = lappend(result, pm);
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	registry_load_former_lanes(result, name);
	return result;
}

/*
 * All process managers of a role, or of everybody (InvalidOid).
 */
List *
registry_load(Oid owner)
{
	/* Without the preloaded library the owner can change past the row. */
	List *managers = registry_select(Slots == NULL ? InvalidOid : owner, NULL);
	ListCell *lc;

	foreach(lc, managers)
		if (OidIsValid(owner) && ((ProcessManager *) lfirst(lc))->owner != owner)
			managers = foreach_delete_current(managers, lc);
	return managers;
}

/*
 * A process manager by name.
 */
ProcessManager *
registry_get(const char *name, bool missing_ok)
{
	List *found = registry_select(InvalidOid, name);

	if (found == NIL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("process manager \"%s\" does not exist", name),
				 errhint(
					 "SELECT name FROM pm.process_manager lists them; pm.register makes one.")));
	return found == NIL ? NULL : linitial(found);
}

/*
 * Only members of the owner's role, and superusers, change a registration.
 */
void
registry_require_owner(ProcessManager *pm)
{
	if (!OidIsValid(pm->owner) ? !superuser() : !has_privs_of_role(GetUserId(), pm->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of process manager \"%s\"", pm->name)));
}

/*
 * BEFORE INSERT OR UPDATE OR DELETE FOR EACH STATEMENT on the table of the
 * registrations.  Nobody has been granted these rights, but pg_write_all_data
 * has them on every table; and whoever writes there has a function of his run
 * as whom he likes.
 */
Datum
pm_registry_before_change(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by trigger manager")));
	if (!compat_class_ownercheck(RelationGetRelid(data->tg_relation), GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of table \"%s\"",
							   RelationGetRelationName(data->tg_relation)),
						errhint("Process managers are changed with pm.register and its like.")));
	PG_RETURN_POINTER(NULL);
}
