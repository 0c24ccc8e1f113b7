/*
 * name_right.c
 *		Which roles may give a name to a log.
 *
 * Process managers keep data of events in journals, timers and sent events.  These rows name the
 * log and the position, and may be kept for longer than the log exists.  The owner of a later log
 * of the same name could replace the data of such rows with pm.erase.  So the name is free only
 * for members of the roles that own these process managers, and for the role that owned the
 * earlier log, because that role could already replace the data while the log existed.
 *
 * To search all journals for a name would take too long.  So pm_catalog.name_use has the process
 * managers that may have kept something of a log of a name.  These are the process managers that
 * have ever followed the log, and those to which something was sent whose cause is an event of the
 * log.  The latter get their rows when the event is delivered (manager/sent.c), or when the
 * sender is unregistered.  When a process manager is unregistered, its rows are deleted.
 *
 * A process manager can follow each log that its owner may read.  But it must not be able to
 * prevent the owner of the log from creating the log again.  So when a log is dropped, its owner
 * is recorded in pm_catalog.name_owner.  The owner of an attached log is the role that has attached
 * it: that role has chosen what its events are.
 *
 * No session waits here for the transaction of another role, however long that transaction stays
 * open.  A session deletes rows of name_use only for a process manager whose units it has locked.
 * It skips outdated rows of name_owner that are locked: only the last row of a name counts.
 *
 * Dropping a log locks its followers, and waits for those that are being registered.  So all data
 * that is kept of its events is committed before its name is free, unless a batch that handles a
 * timer passes the data on.  Then the timer can still be seen, and the owner of the process
 * manager that receives the data is a member of the same roles, or of fewer.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "log/name_right.h"

/* Whose data the owner of a log with this name could replace. */
typedef struct NameUser
{
	char *manager;
	char *role;
} NameUser;

/*
 * An extension of version 0.1.0 has no such tables.
 */
static bool
name_right_known(void)
{
	return OidIsValid(exec_catalog_relid("name_use"));
}

/* ---------- who owned the log ---------- */

/*
 * The owner of a table that this transaction has dropped; InvalidOid if it has not.
 *
 * In an event trigger for dropped objects, the catalog does not show the row of the table any
 * more.  As this transaction has deleted it, it is still there.
 */
static Oid
name_right_dropped_owner(Oid relid)
{
	Relation rel = table_open(RelationRelationId, AccessShareLock);
	Oid owner = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, ClassOidIndexId, true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTupleHeader header = tuple->t_data;

		/* Versions that were updated refer to the next one. */
		if (!(header->t_infomask & HEAP_XMAX_INVALID) &&
			!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
			TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)) &&
			ItemPointerEquals(&tuple->t_self, &header->t_ctid))
			owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

static Oid
name_right_table_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		return name_right_dropped_owner(relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void *
name_right_form_oid(uint64 row)
{
	Oid *oid = palloc(sizeof(Oid));
	bool isnull;
	Datum value = exec_value(row, 1, &isnull);

	*oid = isnull ? InvalidOid : DatumGetObjectId(value);
	return oid;
}

/*
 * Did the current user, or a role of which it is a member, own the last log of this name?
 *
 * In a copy of the database in another cluster, OIDs are those of other roles.
 */
static bool
name_right_owned(const char *name)
{
	static ExecStatement last = {
		NULL,
		"SELECT CASE WHEN o.system_identifier OPERATOR(pg_catalog.=) $2 THEN o.owner "
		"ELSE (SELECT r.oid FROM pg_catalog.pg_roles r "
		"WHERE r.rolname OPERATOR(pg_catalog.=) o.owner_name) END "
		"FROM pm_catalog.name_owner o WHERE o.name OPERATOR(pg_catalog.=) $1 "
		"ORDER BY o.dropped_at DESC LIMIT 1",
		2,
		{TEXTOID, INT8OID},
	};
	Datum values[2] = {CStringGetTextDatum(name), Int64GetDatum((int64) GetSystemIdentifier())};
	List *owners = exec_list(&last, values, NULL, name_right_form_oid);
	Oid owner = owners == NIL ? InvalidOid : *(Oid *) linitial(owners);

	/* Nobody is a member of a role that was dropped. */
	return OidIsValid(owner) && has_privs_of_role(GetUserId(), owner);
}

/* ---------- may it have the name? ---------- */

static bool
name_right_used(const char *name)
{
	static ExecStatement used = {
		NULL,
		"SELECT FROM pm_catalog.name_use WHERE name OPERATOR(pg_catalog.=) $1 LIMIT 1",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(name)};

	return exec_as_owner(&used, values, NULL) > 0;
}

static void *
name_right_form_user(uint64 row)
{
	NameUser *user = palloc(sizeof(NameUser));

	user->manager = exec_text(row, 1);
	user->role = exec_text(row, 2);
	return user;
}

/* Is an event of a log of this name the cause of a row of pm_catalog.timer, sent or parked? */
#define NAME_RIGHT_CAUSED(row) NAME_RIGHT_CAUSE(row) "OPERATOR(pg_catalog.=) $1 "

/*
 * A process manager that keeps something of events of a log of this name, and whose owner's role
 * the current user is not a member of; NULL if there is none.
 *
 * All is read in one snapshot: rows move from one table to another.
 */
static NameUser *
name_right_stranger(const char *name)
{
	static ExecStatement strangers = {
		NULL,
		/* clang-format off */
		"SELECT m.name, coalesce((SELECT r.rolname FROM pg_catalog.pg_roles r "
		"WHERE r.oid OPERATOR(pg_catalog.=) m.owner), m.owner_name)::pg_catalog.text "
		"FROM pm_catalog.manager m "
		"WHERE NOT pg_catalog.pg_has_role($2, m.owner, 'USAGE') AND ("
		"(m.name OPERATOR(pg_catalog.=) ANY (SELECT u.process_manager FROM pm_catalog.name_use u "
		"WHERE u.name OPERATOR(pg_catalog.=) $1) AND ("
		"EXISTS (SELECT FROM pm_catalog.journal j "
		"WHERE j.process_manager OPERATOR(pg_catalog.=) m.name "
		"AND j.log OPERATOR(pg_catalog.=) $1) "
		"OR EXISTS (SELECT FROM pm_catalog.timer t "
		"WHERE t.process_manager OPERATOR(pg_catalog.=) m.name "
		"AND " NAME_RIGHT_CAUSED("t") ") "
		"OR EXISTS (SELECT FROM pm_catalog.parked k "
		"WHERE k.process_manager OPERATOR(pg_catalog.=) m.name "
		"AND k.log IS NULL AND " NAME_RIGHT_CAUSED("k") "))) "
		"OR EXISTS (SELECT FROM pm_catalog.sent s "
		"WHERE s.process_manager OPERATOR(pg_catalog.=) m.name "
		"AND " NAME_RIGHT_CAUSED("s") ")) "
		"ORDER BY m.name LIMIT 1",
		/* clang-format on */
		2,
		{TEXTOID, OIDOID},
	};
	Datum values[2] = {CStringGetTextDatum(name), ObjectIdGetDatum(GetUserId())};
	List *found = exec_list(&strangers, values, NULL, name_right_form_user);

	return found == NIL ? NULL : linitial(found);
}

void
name_right_require(const char *name)
{
	NameUser *user;

	if (superuser() || !name_right_known() || !name_right_used(name) || name_right_owned(name))
		return;
	user = name_right_stranger(name);
	if (user == NULL)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 errmsg("role \"%s\" may not name a log \"%s\"", GetUserNameFromId(GetUserId(), false),
				name),
		 errdetail("Process manager \"%s\" of role \"%s\" has kept journal entries or timers of "
				   "an earlier log of this name.",
				   user->manager, user->role),
		 errhint("Choose another name. Or have a member of role \"%s\", the owner of the earlier "
				 "log or a superuser create the log, and give you its table.",
				 user->role)));
}

/* ---------- bookkeeping ---------- */

void
name_right_use(const char *manager, Datum names)
{
	static ExecStatement use = {
		NULL,
		"INSERT INTO pm_catalog.name_use (name, process_manager) "
		"SELECT n, $1 FROM pg_catalog.unnest($2) n WHERE NOT EXISTS ("
		"SELECT FROM pm_catalog.name_use u WHERE u.name OPERATOR(pg_catalog.=) n "
		"AND u.process_manager OPERATOR(pg_catalog.=) $1)",
		2,
		{TEXTOID, TEXTARRAYOID},
	};
	Datum values[2] = {CStringGetTextDatum(manager), names};

	if (name_right_known())
		(void) exec_as_owner(&use, values, NULL);
}

void
name_right_unuse(const char *manager)
{
	/* What it has sent may still be in the queue of another one. */
	static ExecStatement pass_on = {
		NULL,
		"INSERT INTO pm_catalog.name_use (name, process_manager) "
		"SELECT DISTINCT u.name, s.process_manager FROM pm_catalog.sent s "
		"JOIN pm_catalog.name_use u ON " NAME_RIGHT_CAUSE(
			"s") "OPERATOR(pg_catalog.=) u.name "
				 "WHERE u.process_manager OPERATOR(pg_catalog.=) $1 "
				 "AND s.process_manager OPERATOR(pg_catalog.<>) $1 AND NOT EXISTS ("
				 "SELECT FROM pm_catalog.name_use x WHERE x.name OPERATOR(pg_catalog.=) u.name "
				 "AND x.process_manager OPERATOR(pg_catalog.=) s.process_manager)",
		1,
		{TEXTOID},
	};
	/* The owners of logs of which nobody else has kept anything do not matter any more. */
	static ExecStatement unuse = {
		NULL,
		"WITH u AS (DELETE FROM pm_catalog.name_use "
		"WHERE process_manager OPERATOR(pg_catalog.=) $1 RETURNING name) "
		"DELETE FROM pm_catalog.name_owner WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT o.ctid FROM pm_catalog.name_owner o "
		"WHERE o.name OPERATOR(pg_catalog.=) ANY (SELECT u.name FROM u) "
		"AND NOT EXISTS (SELECT FROM pm_catalog.name_use x "
		"WHERE x.name OPERATOR(pg_catalog.=) o.name "
		"AND x.process_manager OPERATOR(pg_catalog.<>) $1) FOR UPDATE SKIP LOCKED))",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(manager)};

	if (!name_right_known())
		return;
	(void) exec_as_owner(&pass_on, values, NULL);
	(void) exec_as_owner(&unuse, values, NULL);
}

void
name_right_release(const char *name, Oid relid, const Oid *attached_by)
{
	static ExecStatement forget = {
		NULL,
		"DELETE FROM pm_catalog.name_owner WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT o.ctid FROM pm_catalog.name_owner o WHERE o.name OPERATOR(pg_catalog.=) $1 "
		"FOR UPDATE SKIP LOCKED))",
		1,
		{TEXTOID},
	};
	/* A row with a role that is not known any more says that earlier owners do not matter. */
	static ExecStatement release = {
		NULL,
		"INSERT INTO pm_catalog.name_owner (name, owner, owner_name, system_identifier) "
		"VALUES ($1, $2, $3::pg_catalog.name, $4)",
		4,
		{TEXTOID, OIDOID, TEXTOID, INT8OID},
	};
	Datum values[4] = {CStringGetTextDatum(name)};
	Oid owner;
	char *owner_name;

	if (!name_right_known())
		return;
	(void) exec_as_owner(&forget, values, NULL);
	if (!name_right_used(name))
		return;
	/* The owner of an attached table need not know of the log. */
	owner = attached_by != NULL ? *attached_by : name_right_table_owner(relid);
	owner_name = GetUserNameFromId(owner, true);
	values[1] = ObjectIdGetDatum(owner);
	values[2] = CStringGetTextDatum(owner_name != NULL ? owner_name : "");
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	(void) exec_as_owner(&release, values, NULL);
}
