/*
 * reply.c
 *		pm.reply: a consumer answers the instance whose handler has appended an event.
 *
 * A handler asks for work outside the database by appending an event to a log that consumers
 * follow.  A row records that the instance can be answered (log/reply_to.c).  The answer is
 * queued like an event of pm.send, and the handler is called with it.
 *
 * The consumer itself need not be permitted to send to the process manager of the instance.
 * It acts for the process manager without a handler, whose owner must be permitted to send
 * there, or own the log: an instance that writes to a log wants an answer from the log's
 * owner.  A role that may only read the log cannot answer, although it can register a
 * process manager that follows it.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/argument.h"
#include "base/event.h"
#include "base/exec.h"
#include "base/scan.h"
#include "base/version.h"
#include "base/within.h"
#include "log/log_open.h"
#include "log/reply_to.h"
#include "manager/consumer.h"
#include "manager/manager_lock.h"
#include "manager/reply.h"
#include "manager/sent.h"

PG_FUNCTION_INFO_V1(pm_reply);

typedef struct Reply
{
	char *log;
	Oid relid;	   /* of its table; InvalidOid: there is no such log */
	Oid log_owner; /* of the table */
	int64 position;
	List *consumed; /* of ProcessManager: those for which the caller may be a consumer */
	bool any;		/* is it known which instance has appended the event?  If so: */
	ReplyTo to;
} Reply;

/* ---------- which logs ---------- */

static void *
reply_form_text(uint64 row)
{
	return exec_text(row, 1);
}

static bool
reply_is_in(const List *logs, const char *log)
{
	ListCell *lc;

	foreach(lc, logs)
		if (strcmp(lfirst(lc), log) == 0)
			return true;
	return false;
}

/*
 * The logs that process managers without a handler follow.  A statement would be planned
 * again whenever a registration has changed.
 */
static List *
reply_read_logs(void)
{
	List *logs = NIL;
	RowScan scan;
	AttrNumber handler;
	AttrNumber followed;

	scan_begin(&scan, "process_manager", "process_manager_pkey", AccessShareLock);
	handler = scan_column(&scan, "handler");
	followed = scan_column(&scan, "logs");
	while (scan_next(&scan))
	{
		Datum *names;
		int count;

		if (!scan.nulls[handler - 1])
			continue;
		deconstruct_array(DatumGetArrayTypeP(scan.values[followed - 1]), TEXTOID, -1, false,
						  TYPALIGN_INT, &names, NULL, &count);
		for (int i = 0; i < count; i++)
		{
			char *log = TextDatumGetCString(names[i]);

			if (!reply_is_in(logs, log))
				logs = lappend(logs, log);
		}
	}
	scan_end(&scan);
	return logs;
}

/*
 * The list lives until this is called again.
 */
const List *
reply_logs(void)
{
	static MemoryContext context = NULL;
	static List *logs = NIL;
	static uint64 version = 0;
	uint64 as_of = registry_version();
	MemoryContext caller;

	if (version == as_of)
		return logs;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "pm logs of consumers",
										ALLOCSET_SMALL_SIZES);
	version = 0;
	logs = NIL;
	MemoryContextReset(context);
	if (version_has("0.2.0"))
	{
		caller = MemoryContextSwitchTo(context);
		logs = reply_read_logs();
		MemoryContextSwitchTo(caller);
	}
	version = as_of;
	return logs;
}

/* ---------- who may ---------- */

/*
 * The process managers without a handler that follow the log and for which the current user
 * may be a consumer.
 */
static List *
reply_consumed(const char *log)
{
	static ExecStatement select_names = {
		NULL,
		"SELECT name FROM pm_catalog.process_manager "
		"WHERE handler IS NULL AND $1 OPERATOR(pg_catalog.=) ANY (logs)",
		1,
		{TEXTOID},
	};
	Datum values[1] = {CStringGetTextDatum(log)};
	List *found = NIL;
	ListCell *lc;

	foreach(lc, exec_list(&select_names, values, NULL, reply_form_text))
	{
		ProcessManager *pm = registry_get(lfirst(lc), true);

		if (pm != NULL && pm->handler == NULL && pm->at_home && consumer_may(pm, GetUserId()))
			found = lappend(found, pm);
	}
	return found;
}

static bool
reply_takes(const ProcessManager *pm, const char *type)
{
	Datum *types;
	int count;

	if (pm->types == (Datum) 0)
		return true;
	deconstruct_array(DatumGetArrayTypeP(pm->types), TEXTOID, -1, false, TYPALIGN_INT, &types, NULL,
					  &count);
	for (int i = 0; i < count; i++)
		if (strcmp(TextDatumGetCString(types[i]), type) == 0)
			return true;
	return false;
}

/*
 * May consumers of a process manager that the role "answers" owns send answers to a process
 * manager that the role "asks" owns?  A role that may call pm.send there may also answer.
 */
static bool
reply_trusted(const Reply *reply, Oid answers, Oid asks)
{
	return has_privs_of_role(answers, asks) || has_privs_of_role(GetUserId(), asks) ||
		   (OidIsValid(reply->log_owner) && has_privs_of_role(answers, reply->log_owner));
}

/*
 * Raises an error unless the current user may send an answer to the process manager.
 */
static void
reply_require(const Reply *reply, const ProcessManager *asks)
{
	bool takes = false;
	ListCell *lc;

	foreach(lc, reply->consumed)
	{
		ProcessManager *pm = lfirst(lc);

		if (!reply_takes(pm, reply->to.type))
			continue;
		takes = true;
		if (reply_trusted(reply, pm->owner, asks->owner))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not reply to the event at position %lld of log \"%s\"",
					GetUserNameFromId(GetUserId(), false), (long long) reply->position, reply->log),
			 takes ?
				 errdetail("An instance of process manager \"%s\" has appended it.", asks->name) :
				 errdetail("No process manager of which it may be a consumer takes the type of "
						   "this event."),
			 takes ? errhint("The owner of the consumers' process manager must be a member of the "
							 "role that owns \"%s\", or own the table of the log.",
							 asks->name) :
					 0));
}

/* ---------- where it goes ---------- */

static Oid
reply_table_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * Reads who may answer.  It can change while we wait for a lock.
 */
static void
reply_read_rights(Reply *reply)
{
	reply->log_owner = reply_table_owner(reply->relid);
	reply->consumed = reply_consumed(reply->log);
}

/*
 * Looks up the log, the process managers that the current user may act for, and the instance.
 */
static void
reply_begin(Reply *reply, char *given, int64 position)
{
	char *log;

	memset(reply, 0, sizeof(*reply));
	log = log_find(given, &reply->relid, true);
	if (log == NULL)
		reply->relid = InvalidOid;
	reply->position = position;
	reply->log = log != NULL ? log : given;
	reply_read_rights(reply);
	/* A role without rights must not learn whether there is such a log or event. */
	if (reply->consumed == NIL)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not reply to events of log \"%s\"",
							   GetUserNameFromId(GetUserId(), false), given),
						errdetail("It may not be a consumer of a process manager that follows this "
								  "log."),
						errhint("The owner of such a process manager permits roles with the "
								"argument consumers of pm.register.")));
	reply->any = reply_to_find(reply->log, position, &reply->to);
}

COMPAT_NORETURN static void
reply_refuse_none(const Reply *reply)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no instance waits for a reply to the event at position %lld of log \"%s\"",
					(long long) reply->position, reply->log),
			 reply->any ?
				 errdetail("The process manager whose instance has appended it is gone.") :
				 errdetail("No handler of an instance has appended it with pm.append while "
						   "consumers followed the log."),
			 reply->any ? 0 :
						  errhint("Register the process manager without a handler before handlers "
								  "append events that are to be answered.")));
}

/*
 * The process manager of the instance.  Ids are unique, and not used again.
 */
static ProcessManager *
reply_manager(const Reply *reply)
{
	static ExecStatement select_name = {
		NULL,
		"SELECT name FROM pm_catalog.process_manager WHERE id OPERATOR(pg_catalog.=) $1",
		1,
		{INT4OID},
	};
	Datum values[1] = {Int32GetDatum(reply->to.manager)};
	List *names;
	ProcessManager *pm = NULL;

	if (!reply->any)
		reply_refuse_none(reply);
	names = exec_list(&select_name, values, NULL, reply_form_text);
	if (names != NIL)
		pm = registry_get(linitial(names), true);
	if (pm == NULL || pm->id != reply->to.manager || pm->kind != HANDLER_INSTANCE)
		reply_refuse_none(reply);
	return pm;
}

/*
 * The metadata of an answer: the event that is answered is its cause.
 */
static Datum
reply_metadata(const Reply *reply)
{
	Jsonb *carried = DatumGetJsonbP(reply->to.metadata);
	bool correlated = getKeyJsonValueFromContainer(&carried->root, "correlation",
												   strlen("correlation"), NULL) != NULL;

	/* For keys in both, the value on the right is kept. */
	return DirectFunctionCall2(jsonb_concat, reply->to.metadata,
							   event_causation(reply->log, reply->position, !correlated));
}

/*
 * pm.reply(log, pos, type, data)
 */
Datum
pm_reply(PG_FUNCTION_ARGS)
{
	Reply reply;
	ProcessManager *pm;

	exec_require_writable("pm.reply");
	argument_not_null(fcinfo, 1, "pos");
	argument_not_null(fcinfo, 2, "type");
	sent_check_type(PG_GETARG_DATUM(2));
	if (within_handler())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE), errmsg("pm.reply cannot be called by a handler"),
				 errhint("Consumers call it. A handler can call pm.send.")));
	reply_begin(&reply, log_arg_name(fcinfo, 0), PG_GETARG_INT64(1));
	pm = reply_manager(&reply);
	reply_require(&reply, pm);
	manager_lock_sender(pm->id);
	/* While we waited for the lock, registrations and owners may have changed. */
	reply_read_rights(&reply);
	pm = reply_manager(&reply);
	reply_require(&reply, pm);
	sent_add(pm, reply.to.key, PG_GETARG_DATUM(2),
			 PG_ARGISNULL(3) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) :
							   PG_GETARG_DATUM(3),
			 reply_metadata(&reply));
	PG_RETURN_VOID();
}
