/*
 * registry.c
 *		Loads process managers from the catalog, and checks which roles may change them.
 *
 * A loaded process manager is valid as long as registry_version() does not change.
 * Each change of a registration sends a relcache invalidation for the table, and so
 * does each change of a log.  A backend that has just locked a unit sees what was
 * committed before (manager_lock.c).
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/extension.h"
#include "base/relcache.h"
#include "manager/registration.h"
#include "manager/registry.h"
#include "shmem/slot.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_registry_owner);
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
	relcache_watch(registry_relcache_callback);
}

/*
 * Increases whenever what registry_load() returned may have changed.
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

/*
 * An interval in ms.
 */
static int64
registry_ms(Datum interval)
{
	Interval *i = DatumGetIntervalP(interval);

	return i->time / 1000 + (int64) i->day * (USECS_PER_DAY / 1000) +
		   (int64) i->month * DAYS_PER_MONTH * (USECS_PER_DAY / 1000);
}

/*
 * The shell type of a process manager (shell_type.c), or InvalidOid.
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
 * The role that owns a process manager in this database, or InvalidOid.
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
	 * In a copy, the OID in the row is that of another role.  A superuser may
	 * own the type only as the role that restored a dump without owners.  So
	 * the name determines the owner.
	 */
	return get_role_oid(pm->owner_name, true);
}

/*
 * Sets the owner of a process manager that was loaded.
 */
static void
registry_set_owner(ProcessManager *pm, Oid registered)
{
	pm->owner = registry_owner(pm, registered);
	if (OidIsValid(pm->owner))
		pm->owner_name = GetUserNameFromId(pm->owner, false);

	/*
	 * If a superuser became the owner without a change of the registration, the
	 * process manager must not run another role's code as a superuser until a
	 * superuser has accepted that code (handler_check.c).
	 */
	if (pm->at_home && pm->owner != registered && superuser_arg(pm->owner) &&
		!superuser_arg(registered))
		pm->found_handler.registered_owner = pm->found_correlate.registered_owner = InvalidOid;
}

/*
 * The texts in a text[], as a List.
 */
static List *
registry_text_list(Datum array)
{
	Datum *elements;
	int count;
	List *texts = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL,
					  &count);
	for (int i = 0; i < count; i++)
		texts = lappend(texts, TextDatumGetCString(elements[i]));
	return texts;
}

/*
 * An OID that may be unknown.
 */
static Oid
registry_oid(const Registration *row, RegistrationColumn column)
{
	return row->nulls[column] ? InvalidOid : DatumGetObjectId(row->values[column]);
}

/*
 * The OIDs of the roles that may be consumers.  In a copy, the OIDs in the row can be
 * those of other roles, so the names count.
 */
static List *
registry_consumers(const ProcessManager *pm, const Registration *row)
{
	RegistrationColumn column = pm->at_home ? REGISTRATION_CONSUMERS : REGISTRATION_CONSUMER_NAMES;
	List *roles = NIL;
	Datum *elements;
	int count;

	if (row->nulls[column])
		return NIL;
	if (pm->at_home)
		deconstruct_array(DatumGetArrayTypeP(row->values[column]), OIDOID, sizeof(Oid), true,
						  TYPALIGN_INT, &elements, NULL, &count);
	else
		deconstruct_array(DatumGetArrayTypeP(row->values[column]), NAMEOID, NAMEDATALEN, false,
						  TYPALIGN_CHAR, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		Oid role = pm->at_home ? DatumGetObjectId(elements[i]) :
								 get_role_oid(NameStr(*DatumGetName(elements[i])), true);

		/* A role that was dropped has no rights, whatever its OID may be given to. */
		if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
			roles = lappend_oid(roles, role);
	}
	return roles;
}

/*
 * Makes a struct of a row, in the current memory context.
 */
static ProcessManager *
registry_form(const Registration *row, uint64 as_of)
{
	const Datum *values = row->values;
	const bool *nulls = row->nulls;
	ProcessManager *pm = palloc0(sizeof(ProcessManager));

	pm->version = as_of;
	pm->id = DatumGetInt32(values[REGISTRATION_ID]);
	pm->name = TextDatumGetCString(values[REGISTRATION_NAME]);
	pm->owner_name = pstrdup(NameStr(*DatumGetName(values[REGISTRATION_OWNER_NAME])));
	if (!nulls[REGISTRATION_HANDLER])
		pm->handler = TextDatumGetCString(values[REGISTRATION_HANDLER]);
	pm->kind = (HandlerKind) DatumGetChar(values[REGISTRATION_HANDLER_KIND]);
	pm->found_handler.registered_owner = registry_oid(row, REGISTRATION_HANDLER_OWNER);
	if (!nulls[REGISTRATION_CORRELATE])
		pm->correlate = TextDatumGetCString(values[REGISTRATION_CORRELATE]);
	pm->found_correlate.registered_owner = registry_oid(row, REGISTRATION_CORRELATE_OWNER);
	pm->logs = registry_text_list(values[REGISTRATION_LOGS]);
	if (!nulls[REGISTRATION_TYPES])
		pm->types = PointerGetDatum(DatumGetArrayTypePCopy(values[REGISTRATION_TYPES]));
	pm->halt_on_failure = strcmp(TextDatumGetCString(values[REGISTRATION_ON_FAILURE]), "halt") == 0;
	pm->max_attempts = DatumGetInt32(values[REGISTRATION_MAX_ATTEMPTS]);
	pm->backoff = registry_ms(values[REGISTRATION_BACKOFF]);
	pm->handler_timeout = registry_ms(values[REGISTRATION_HANDLER_TIMEOUT]);
	pm->batch_size = DatumGetInt32(values[REGISTRATION_BATCH_SIZE]);
	pm->lanes = DatumGetInt32(values[REGISTRATION_LANES]);
	pm->park_limit = DatumGetInt32(values[REGISTRATION_PARK_LIMIT]);
	pm->paused = DatumGetBool(values[REGISTRATION_PAUSED]);
	pm->keep_ended = nulls[REGISTRATION_KEEP_ENDED] ? -1 :
													  registry_ms(values[REGISTRATION_KEEP_ENDED]);
	pm->journal = !nulls[REGISTRATION_JOURNAL] && DatumGetBool(values[REGISTRATION_JOURNAL]);
	if (!nulls[REGISTRATION_CARRY])
		pm->carry = registry_text_list(values[REGISTRATION_CARRY]);
	pm->at_home = DatumGetInt64(values[REGISTRATION_SYSTEM_IDENTIFIER]) ==
					  (int64) GetSystemIdentifier() &&
				  DatumGetObjectId(values[REGISTRATION_DATABASE]) == MyDatabaseId;
	if (!nulls[REGISTRATION_LEASE])
		pm->lease = registry_ms(values[REGISTRATION_LEASE]);
	pm->consumers = registry_consumers(pm, row);
	registry_set_owner(pm, DatumGetObjectId(values[REGISTRATION_OWNER]));
	return pm;
}

#define REGISTRY_FORMER_LANES                                                                      \
	"SELECT process_manager, log, lanes, lane, position FROM pm_catalog.former_lane"

static void *
registry_form_former_lane(uint64 row)
{
	FormerLane *former = palloc(sizeof(FormerLane));
	bool isnull;

	former->manager = exec_text(row, 1);
	former->log = exec_text(row, 2);
	former->lanes = DatumGetInt32(exec_value(row, 3, &isnull));
	former->lane = DatumGetInt32(exec_value(row, 4, &isnull));
	former->position = DatumGetInt64(exec_value(row, 5, &isnull));
	return former;
}

/*
 * Gives process managers that have just been loaded their former lanes: all of
 * them, or the one of a name (0: all).
 */
static void
registry_load_former_lanes(List *managers, Datum name)
{
	static ExecStatement select_all = {NULL, REGISTRY_FORMER_LANES, 0, {0}};
	static ExecStatement select_by_name = {
		NULL,
		REGISTRY_FORMER_LANES " WHERE process_manager OPERATOR(pg_catalog.=) $1",
		1,
		{TEXTOID},
	};
	ListCell *lc;

	foreach(lc,
			exec_list(name ? &select_by_name : &select_all, &name, NULL, registry_form_former_lane))
	{
		FormerLane *former = lfirst(lc);
		ListCell *manager;

		foreach(manager, managers)
		{
			ProcessManager *pm = lfirst(manager);

			if (strcmp(pm->name, former->manager) == 0)
				pm->former_lanes = lappend(pm->former_lanes, former);
		}
	}
}

/*
 * Process managers, all or some, in the caller's memory context.
 */
static List *
registry_select(RegistrationWhich which, Datum key)
{
	MemoryContext caller = CurrentMemoryContext;
	ExecScope scope;
	List *result = NIL;
	uint64 count;
	/* Read the version first, so that a change while we read makes the result outdated. */
	uint64 as_of = version;

	exec_begin_owner(&scope);
	/* From now on, heed invalidations of these tables. */
	catalog_relid = exec_catalog_relid("process_manager");
	log_relid = exec_catalog_relid("log");
	count = registration_select(which, key);
	for (uint64 row = 0; row < count; row++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		Registration registration;

		registration_read(&registration, row);
		result = lappend(result, registry_form(&registration, as_of));
		MemoryContextSwitchTo(spi);
	}
	exec_end(&scope);
	registry_load_former_lanes(result, which == REGISTRATION_BY_NAME ? key : (Datum) 0);
	return result;
}

/*
 * All process managers of a role, or of all roles (InvalidOid).
 */
List *
registry_load(Oid owner)
{
	List *managers;
	ListCell *lc;

	/*
	 * Without the preloaded library, REASSIGN OWNED does not reach the column
	 * "owner" (owner.c).  Then all rows have to be read to find the role's.
	 */
	if (!slot_preloaded() || !OidIsValid(owner))
		managers = registry_select(REGISTRATION_ALL, (Datum) 0);
	else
		managers = registry_select(REGISTRATION_BY_OWNER, ObjectIdGetDatum(owner));
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
	List *found = registry_select(REGISTRATION_BY_NAME, CStringGetTextDatum(name));

	if (found == NIL && !missing_ok)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("process manager \"%s\" does not exist", name),
						errhint("SELECT name FROM pm.process_manager lists them; "
								"pm.register makes one.")));
	return found == NIL ? NULL : linitial(found);
}

/*
 * Only members of the owner's role, and superusers, may change a process
 * manager.
 */
bool
registry_may_change(const ProcessManager *pm)
{
	return !OidIsValid(pm->owner) ? superuser() : has_privs_of_role(GetUserId(), pm->owner);
}

void
registry_require_owner(ProcessManager *pm)
{
	if (!registry_may_change(pm))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of process manager \"%s\"", pm->name)));
}

/*
 * pm_catalog.manager_owner(name, owner, owner_name, at_home): the owner for pm_catalog.manager, by
 * the rules of registry_owner().  If that role does not exist any more, its OID.
 */
Datum
pm_registry_owner(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool at_home = PG_GETARG_BOOL(3);
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(registry_type(name)));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
		ReleaseSysCache(tuple);
		if (at_home ||
			(SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)) && !superuser_arg(owner)))
			PG_RETURN_OID(owner);
	}
	PG_RETURN_OID(at_home ? PG_GETARG_OID(1) : get_role_oid(NameStr(*PG_GETARG_NAME(2)), true));
}

/*
 * A trigger BEFORE INSERT OR UPDATE OR DELETE FOR EACH STATEMENT on
 * pm_catalog.process_manager.
 *
 * No role is granted the right to write there, but pg_write_all_data has it on
 * every table.  Without this trigger, a member of that role could make any
 * function run as any role.
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
						errhint("Use pm.register to change process managers.")));
	/* A dump that is being restored writes rows too, and the scheduler must see that they wait. */
	registry_changed();
	PG_RETURN_POINTER(NULL);
}
