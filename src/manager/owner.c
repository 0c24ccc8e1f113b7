/*
 * owner.c
 *		Changes the owner of a process manager.
 *
 * That is done by pm.set_owner, REASSIGN OWNED and ALTER TYPE ... OWNER TO.
 *
 * The owner of a process manager's shell type (shell_type.c) is the owner of the
 * process manager, also in a copy of the database.  The registration also contains the
 * owner, for dumps that are restored without owners.  owner_reassigned() and the event
 * trigger pm_after_alter copy a change of the type's owner to the registration.  If a
 * superuser owns the type in a copy, the name in the registration determines the owner,
 * because the superuser may own the type only as the role that restored the dump.
 *
 * When REASSIGN OWNED gives a role's objects to a superuser, the superuser has not
 * reviewed the role's code.  So if a superuser becomes the owner of a process manager
 * by REASSIGN OWNED or ALTER TYPE, it calls no function until pm.set_owner is called
 * for it with that superuser.
 */
#include "pm.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/within.h"
#include "log/highwater_ask.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "log/log_trouble.h"
#include "manager/consumer_role.h"
#include "manager/function_owner.h"
#include "manager/handler_find.h"
#include "manager/manager_lock.h"
#include "manager/owner.h"
#include "manager/owner_check.h"
#include "manager/shell_type.h"
#include "shmem/wakeup.h"

PG_FUNCTION_INFO_V1(pm_set_owner);
PG_FUNCTION_INFO_V1(pm_owner_after_alter);

/*
 * Writes the owner into the registration.
 */
static void
owner_update(const char *manager, Oid role)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager "
		"SET owner = $2, owner_name = $3::pg_catalog.name "
		"WHERE name OPERATOR(pg_catalog.=) $1",
		3,
		{TEXTOID, OIDOID, TEXTOID},
	};
	Datum values[3];

	values[0] = CStringGetTextDatum(manager);
	values[1] = ObjectIdGetDatum(role);
	values[2] = CStringGetTextDatum(GetUserNameFromId(role, false));
	(void) exec_as_owner(&update, values, NULL);
	registry_changed();
	ereport(LOG, (errmsg("process manager \"%s\" was given to role \"%s\" by \"%s\"", manager,
						 GetUserNameFromId(role, false), GetUserNameFromId(GetUserId(), false))));
}

/* ---------- pm.set_owner ---------- */

/*
 * Can this role own the process manager, with its functions and logs?
 *
 * The units are locked, so this does not wait for a log that another session
 * has locked.  The catalog shows the rights on its table; the first batch finds out
 * whether row security hides rows from the role.
 */
static void
owner_check_new(ProcessManager *pm, Oid role)
{
	ListCell *lc;

	owner_check_role(role);
	handler_check_new_owner(pm, role);
	foreach(lc, pm->logs)
	{
		bool locked;
		PmLog *log = log_get_nowait(lfirst(lc), &locked);
		Oid relid;

		if (log == NULL && locked && log_find(lfirst(lc), &relid, true) != NULL)
			log_require_right(lfirst(lc), relid, role);
		/* Without a table there is nothing to have a right to. */
		if (log != NULL && *log->table != '\0')
			log_require_select(log, role);
	}
}

/*
 * pm.set_owner(name, role)
 */
Datum
pm_set_owner(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = get_role_oid(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	ProcessManager *pm = manager_lock_for("pm.set_owner", name);

	/* As with ALTER ... OWNER TO, the caller must be able to be the new owner too. */
	compat_check_can_set_role(GetUserId(), role);
	owner_check_new(pm, role);
	owner_update(pm->name, role);
	/* handler_check_new_owner() has found that superusers own the functions. */
	if (superuser_arg(role))
		function_owner_record(pm->name);
	shell_type_record(pm->name, role);
	consumer_role_record(pm->name);
	shell_type_depend_all(pm->name);
	wakeup_announce();
	PG_RETURN_VOID();
}

/* ---------- REASSIGN OWNED, ALTER TYPE ---------- */

/* A process manager whose type has a new owner or, in a copy, whose owner by name has changed. */
typedef struct OwnerChange
{
	char *manager;
	Oid role; /* the new owner */
	bool from_superuser;
} OwnerChange;

static void *
owner_change_form(uint64 row)
{
	OwnerChange *change = palloc(sizeof(OwnerChange));
	bool isnull;

	change->manager = exec_text(row, 1);
	change->role = DatumGetObjectId(exec_value(row, 2, &isnull));
	change->from_superuser = DatumGetBool(exec_value(row, 3, &isnull));
	return change;
}

/*
 * The process managers of this database whose type belongs to another role than
 * the registration says.
 */
static List *
owner_changes(void)
{
	static ExecStatement changes = {
		NULL,
		"SELECT p.name, t.typowner, "
		"EXISTS (SELECT FROM pg_catalog.pg_roles r "
		"WHERE r.oid OPERATOR(pg_catalog.=) p.owner AND r.rolsuper) "
		"FROM pm_catalog.process_manager p "
		"JOIN pg_catalog.pg_type t "
		"ON t.typname OPERATOR(pg_catalog.=) p.name::pg_catalog.name "
		"JOIN pg_catalog.pg_namespace n "
		"ON n.oid OPERATOR(pg_catalog.=) t.typnamespace "
		"WHERE n.nspname OPERATOR(pg_catalog.=) '" REGISTRY_TYPES "' "
		"AND p.system_identifier OPERATOR(pg_catalog.=) $1 "
		"AND p.database OPERATOR(pg_catalog.=) $2 "
		"AND p.owner OPERATOR(pg_catalog.<>) t.typowner",
		2,
		{INT8OID, OIDOID},
	};
	Datum values[2];

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	return exec_list(&changes, values, NULL, owner_change_form);
}

/*
 * In a copy, writes the name of the type's owner into the registration.  If a
 * superuser becomes the owner of the type later, the name still tells whose
 * process manager it is.
 */
static void
owner_name_copies(void)
{
	static ExecStatement update = {
		NULL,
		"UPDATE pm_catalog.process_manager p SET owner_name = r.rolname "
		"FROM pg_catalog.pg_type t "
		"JOIN pg_catalog.pg_namespace n "
		"ON n.oid OPERATOR(pg_catalog.=) t.typnamespace "
		"JOIN pg_catalog.pg_roles r "
		"ON r.oid OPERATOR(pg_catalog.=) t.typowner "
		"WHERE t.typname OPERATOR(pg_catalog.=) p.name::pg_catalog.name "
		"AND n.nspname OPERATOR(pg_catalog.=) '" REGISTRY_TYPES "' "
		"AND (p.system_identifier OPERATOR(pg_catalog.<>) $1 "
		"OR p.database OPERATOR(pg_catalog.<>) $2) "
		"AND NOT r.rolsuper "
		"AND p.owner_name OPERATOR(pg_catalog.<>) r.rolname",
		2,
		{INT8OID, OIDOID},
	};
	Datum values[2];

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	(void) exec_as_owner(&update, values, NULL);
}

/*
 * The names of the roles whose objects REASSIGN OWNED reassigns, as a text[].
 */
static Datum
owner_reassigned_names(ReassignOwnedStmt *reassign)
{
	Datum *names = palloc(sizeof(Datum) * list_length(reassign->roles));
	int count = 0;
	ListCell *lc;

	foreach(lc, reassign->roles)
		names[count++] = CStringGetTextDatum(
			GetUserNameFromId(get_rolespec_oid(lfirst(lc), false), false));
	return PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * The copied process managers that REASSIGN OWNED is about, by the names of
 * their owners.
 */
static List *
owner_changes_of_copies(ReassignOwnedStmt *reassign)
{
	static ExecStatement changes = {
		NULL,
		"SELECT p.name, $4, "
		"EXISTS (SELECT FROM pg_catalog.pg_roles r "
		"WHERE r.rolname OPERATOR(pg_catalog.=) p.owner_name AND r.rolsuper) "
		"FROM pm_catalog.process_manager p "
		"WHERE (p.system_identifier OPERATOR(pg_catalog.<>) $1 "
		"OR p.database OPERATOR(pg_catalog.<>) $2) "
		"AND p.owner_name::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)",
		4,
		{INT8OID, OIDOID, TEXTARRAYOID, OIDOID},
	};
	Datum values[4];

	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	values[2] = owner_reassigned_names(reassign);
	values[3] = ObjectIdGetDatum(get_rolespec_oid(reassign->newrole, false));
	return exec_list(&changes, values, NULL, owner_change_form);
}

/*
 * Copies a change of owner to the registration.
 */
static void
owner_carry_over(OwnerChange *change)
{
	bool stops = superuser_arg(change->role) && !change->from_superuser;

	highwater_require_fresh_snapshots("changing the owner of a process manager");
	within_refuse(change->manager);
	/* The command has checked the caller's right to the type. */
	(void) manager_lock_unchecked(change->manager);
	owner_update(change->manager, change->role);
	consumer_role_record(change->manager);
	if (stops)
	{
		function_owner_forget(change->manager);
		ereport(NOTICE,
				(errmsg("process manager \"%s\" now belongs to a superuser, and stops",
						change->manager),
				 errhint("If its handler may run as a superuser, run SELECT pm.set_owner(%s, %s).",
						 quote_literal_cstr(change->manager),
						 quote_literal_cstr(GetUserNameFromId(change->role, false)))));
	}
	wakeup_announce();
}

static void
owner_carry_over_all(List *changes)
{
	ListCell *lc;

	foreach(lc, changes)
		owner_carry_over(lfirst(lc));
}

/*
 * Called before REASSIGN OWNED.  A READ ONLY transaction or parallel worker may
 * not write; there, the command itself raises the error.
 */
void
owner_reassigning(void)
{
	if (!XactReadOnly && !IsInParallelMode() && OidIsValid(exec_catalog_relid("process_manager")))
		owner_name_copies();
}

/*
 * Called after REASSIGN OWNED, for which not all versions have event triggers.
 * Without the preloaded library it is not called, and the types alone tell the
 * owners.
 */
void
owner_reassigned(ReassignOwnedStmt *reassign)
{
	if (!OidIsValid(exec_catalog_relid("process_manager")))
		return;
	/* Make the new owners of the types visible. */
	CommandCounterIncrement();
	owner_carry_over_all(list_concat(owner_changes(), owner_changes_of_copies(reassign)));
}

/*
 * The event trigger pm_after_alter, after ALTER TYPE: the owner of the type has
 * become the owner of the process manager.
 */
Datum
pm_owner_after_alter(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by event trigger manager")));
	owner_carry_over_all(owner_changes());
	/* In a copy only the name changes: pm.resume does the rest. */
	owner_name_copies();
	PG_RETURN_NULL();
}
