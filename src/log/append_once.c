/*
 * append_once.c
 *		Appends the event of an id once, however often pm.append is called.
 *
 * A caller that does not know whether its pm.append was committed calls it again, with
 * the same id.  The transaction that writes an event with an id also writes a row that
 * names the event (append_id.c).
 *
 * Two sessions that append the same id at the same time must not both find no event.  So
 * each of them holds a lock on the id from before it looks until it has written the row.
 * Then it releases the lock: a session that looks later sees the row, although it is not
 * committed, and waits for the transaction that wrote it.  So a transaction holds one
 * such lock at a time, however many ids it appends.  The deadlock detector finds
 * transactions that wait for each other.
 *
 * A row says that there was an event.  Whether there still is one is looked up in the
 * log, since the owner of the table can delete events.  pm.trim removes the rows of the
 * events that it deletes.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/digest.h"
#include "log/append_id.h"
#include "log/append_once.h"
#include "log/log_index.h"
#include "log/log_index_ask.h"

/* ---------- rights ---------- */

/*
 * Is the caller permitted to insert into the columns that pm.append writes?
 */
static bool
append_once_may_insert(PmLog *log)
{
	static const int written[] = {EVENT_STREAM, EVENT_VERSION, EVENT_TYPE, EVENT_DATA,
								  EVENT_METADATA};

	if (pg_class_aclcheck(log->relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < lengthof(written); i++)
		if (pg_attribute_aclcheck(log->relid, log->attnum[written[i]], GetUserId(), ACL_INSERT) !=
			ACLCHECK_OK)
			return false;
	return true;
}

/*
 * The position is an answer about an event.  A role that may not read the event, because
 * of its rights or of row-level security, must not get it; and it must not append a
 * second one.  The query runs with the rights of the caller.
 */
static void
append_once_require_visible(AppendCall *append, int64 position)
{
	PmLog *log = append->log;
	SPIPlanPtr *plan = &log->plans[LOG_PLAN_VISIBLE];
	Oid argtypes[1] = {INT8OID};
	Datum values[1] = {Int64GetDatum(position)};

	/* insert_begin() has checked that the caller may read the whole table. */
	if (append->direct)
		return;
	if (*plan == NULL)
		*plan = exec_prepare(psprintf("SELECT %s FROM %s%s WHERE %s OPERATOR(pg_catalog.=) $1",
									  log->pos, log->only, log->table, log->pos),
							 1, argtypes);
	if (exec_plan(*plan, values, NULL, 0) == 0)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("log \"%s\" has an event with this id, which role \"%s\" may not "
							   "read",
							   log->name, GetUserNameFromId(GetUserId(), false)),
						errdetail("Nothing was appended."),
						errhint("If it is another event, append it with another id.")));
}

/* ---------- looking ---------- */

/*
 * Locks an id.  The lock belongs to the log, so a role that may not write the log cannot
 * take it, whatever id it gives to its own logs.
 */
static void
append_once_lock(AppendOnce *once)
{
	const unsigned char *digest = (unsigned char *) VARDATA_ANY(DatumGetByteaPP(once->digest));
	uint32 number;
	uint16 rest;

	memcpy(&number, digest, sizeof(number));
	memcpy(&rest, digest + sizeof(number), sizeof(rest));
	SET_LOCKTAG_OBJECT(once->tag, MyDatabaseId, once->log->relid, number, rest);
	(void) LockAcquire(&once->tag, ExclusiveLock, false, false);
}

static void
append_once_unlock(AppendOnce *once)
{
	LockRelease(&once->tag, ExclusiveLock, false);
}

/*
 * Locks the id, and looks for its row.  On return no other transaction has an uncommitted
 * row of this id.
 */
static bool
append_once_find(AppendOnce *once, int64 *position)
{
	for (;;)
	{
		TransactionId other;
		bool found;

		append_once_lock(once);
		found = append_id_look(once->log->name, once->digest, position, &other);
		if (!TransactionIdIsValid(other))
			return found;
		/* While we wait, others may look too: they wait for the same transaction. */
		append_once_unlock(once);
		XactLockTableWait(other, NULL, NULL, XLTW_None);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
append_once_check(AppendCall *append, Datum id)
{
	/* A client that sends an empty id for all commands would lose all but the first. */
	if (VARSIZE_ANY_EXHDR(DatumGetTextPP(id)) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("id must not be empty"),
						errhint("Pass NULL, or omit id, to append without an id.")));
	exec_require_writable("pm.append");
	/* No INSERT checks this if the id is known. */
	if (!append->direct && !append_once_may_insert(append->log))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(append->log->relid));
}

bool
append_once_begin(AppendOnce *once, AppendCall *append, Datum id, int64 *position)
{
	append_once_check(append, id);
	once->log = append->log;
	once->digest = digest_text(id);
	once->stale = false;
	once->before = 0;
	if (!append_once_find(once, position))
		return false;
	/* The row is committed, but neither it nor its event may be in an older snapshot. */
	if (IsolationUsesXactSnapshot() && !append_id_seen(once->log->name, once->digest, *position))
		append_not_serializable();
	CommandCounterIncrement();
	if (!log_index_has(once->log, *position))
	{
		once->stale = true;
		once->before = *position;
		return false;
	}
	append_once_require_visible(append, *position);
	append_once_unlock(once);
	return true;
}

/*
 * Records the position of the event that was appended.
 */
void
append_once_end(AppendOnce *once, int64 position)
{
	if (!append_id_record(once->log->name, once->digest, position,
						  once->stale ? &once->before : NULL))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("a trigger of log \"%s\" has appended an event with the same id",
							   once->log->name),
						errhint("Have the trigger append with another id.")));
	append_once_unlock(once);
}
