/*
 * log_trouble.c
 *		Finds out what keeps a role from reading a log, and since when.
 *
 * Most of these causes are under the control of the table's owner: a lock, the
 * guard, the rights, the sequence.  The owner of one log must not be able to
 * stop a process manager that also follows other logs.  So these functions
 * return the trouble as a value.  It is raised as an error only where the user
 * has asked for this log alone.
 */
#include "pm.h"

#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "base/identifier.h"
#include "log/log_right.h"
#include "log/log_trouble.h"

/*
 * How long a unit waits for a log that it cannot read before it continues with
 * its other logs, in ms.  It waits to keep the order of events from different
 * logs.
 */
#define LOG_TROUBLE_PATIENCE 1000

static void
log_trouble_note(LogTrouble *trouble, int sqlerrcode, const char *message, const char *detail,
				 const char *hint)
{
	trouble->message = message;
	trouble->detail = detail;
	trouble->hint = hint;
	trouble->sqlerrcode = sqlerrcode;
	trouble->locked = false;
}

/*
 * The owner may not read its own log.  It has lost the right, or forces row-level security
 * on itself, or both.
 */
static void
log_trouble_owner(LogTrouble *trouble, PmLog *log)
{
	bool hidden = log_hides_from(log, log->owner);
	bool revoked = !log_may_select(log, log->owner);

	log_trouble_note(trouble, ERRCODE_INSUFFICIENT_PRIVILEGE,
					 psprintf("the owner of log \"%s\" may not read all of it", log->name),
					 revoked ? "The right is revoked." :
							   "Row-level security is forced on the owner.",
					 psprintf("Run %s%s%s%s%s.", hidden ? "ALTER TABLE " : "",
							  hidden ? log->table : "",
							  hidden ? " NO FORCE ROW LEVEL SECURITY" : "",
							  hidden && revoked ? "; " : "",
							  revoked ? log_grants(log->relid, log->owner) : ""));
}

bool
log_trouble_rights(LogTrouble *trouble, PmLog *log, Oid role)
{
	const char *user = GetUserNameFromId(role, true);

	if (user == NULL)
		user = "";
	if (!log_may_select(log, role))
		log_trouble_note(trouble, ERRCODE_INSUFFICIENT_PRIVILEGE,
						 psprintf("role \"%s\" may not read log \"%s\"", user, log->name), NULL,
						 psprintf("Run %s.", log_grants(log->relid, role)));
	/* A row policy must not silently hide events from a reader. */
	else if (log_hides_from(log, role))
		log_trouble_note(
			trouble, ERRCODE_INSUFFICIENT_PRIVILEGE,
			psprintf("row-level security hides events of log \"%s\" from role \"%s\"", log->name,
					 user),
			NULL,
			psprintf("Run ALTER TABLE %s DISABLE ROW LEVEL SECURITY, or ALTER ROLE %s BYPASSRLS.",
					 log->table, quote_identifier(user)));
	/* The owner trims the log, and must see all events that it deletes. */
	else if (!log_owner_can_read(log))
		log_trouble_owner(trouble, log);
	else
		return false;
	return true;
}

bool
log_trouble(LogTrouble *trouble, PmLog *log, Oid role)
{
	if (log->problem == NULL)
		return log_trouble_rights(trouble, log, role);
	log_trouble_note(trouble, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, log->problem, NULL,
					 log->hint);
	return true;
}

void
log_require_select(PmLog *log, Oid role)
{
	LogTrouble trouble;

	/* Without a table there is nothing to have a right to. */
	if (*log->table == '\0')
		log_require_whole(log);
	if (log_trouble_rights(&trouble, log, role))
		log_trouble_raise(&trouble);
}

void
log_trouble_locked(LogTrouble *trouble, const char *name)
{
	log_trouble_note(trouble, ERRCODE_LOCK_NOT_AVAILABLE, psprintf("log \"%s\" is locked", name),
					 NULL, "SELECT * FROM pm.blocker shows which session holds the lock.");
	trouble->locked = true;
}

void
log_trouble_missing(LogTrouble *trouble, const char *name)
{
	log_trouble_note(trouble, ERRCODE_UNDEFINED_OBJECT,
					 psprintf("event log \"%s\" does not exist", name), NULL,
					 "Stop following it with pm.unfollow.");
}

/*
 * The sequence of an attached log need not belong to its table.
 */
static void
log_trouble_rewound_attached(LogTrouble *trouble, PmLog *log, int64 last, int64 needed)
{
	const char *sequence = identifier_of_relation(log->seqid);

	log_trouble_note(
		trouble, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		psprintf("the sequence of log \"%s\" was set back to %lld, behind position %lld", log->name,
				 (long long) last, (long long) needed),
		NULL,
		psprintf("New events would be taken for old ones. As the owner of the sequence, run "
				 "SELECT pg_catalog.setval(%s, %lld).",
				 quote_literal_cstr(sequence == NULL ? "?" : sequence), (long long) needed));
}

void
log_trouble_rewound(LogTrouble *trouble, PmLog *log, int64 last, int64 needed)
{
	if (log->kind == LOG_ATTACHED)
	{
		log_trouble_rewound_attached(trouble, log, last, needed);
		return;
	}
	log_trouble_note(
		trouble, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		psprintf("the sequence of log \"%s\" was set back to %lld, behind position %lld", log->name,
				 (long long) last, (long long) needed),
		NULL,
		psprintf("New events would be taken for old ones. As the owner of its table, run SELECT "
				 "pg_catalog.setval(pg_catalog.pg_get_serial_sequence(\"table\"::text, pos), %lld) "
				 "FROM pm.log WHERE name = %s.",
				 (long long) needed, quote_literal_cstr(log->name)));
}

void
log_trouble_no_index(LogTrouble *trouble, PmLog *log)
{
	log_trouble_note(trouble, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					 psprintf("log \"%s\" has no index of its positions", log->name), NULL,
					 psprintf("Run ALTER TABLE %s ADD PRIMARY KEY (%s).", log->table, log->pos));
}

void
log_trouble_row(LogTrouble *trouble, PmLog *log, int64 position, const char *error)
{
	log_trouble_note(
		trouble, ERRCODE_DATA_EXCEPTION,
		psprintf("the row at position %lld of log \"%s\" cannot be read as an event: %s",
				 (long long) position, log->name, error),
		"An expression with which the log was attached has failed.",
		"Correct the row, or attach the log with other expressions. pm.seek skips the row.");
}

void
log_trouble_raise(const LogTrouble *trouble)
{
	ereport(ERROR, (errcode(trouble->sqlerrcode), errmsg_internal("%s", trouble->message),
					trouble->detail ? errdetail_internal("%s", trouble->detail) : 0,
					trouble->hint ? errhint("%s", trouble->hint) : 0));
}

/* ---------- since when ---------- */

/*
 * This is kept for each unit, because what keeps one unit from reading a log
 * may not concern another unit, which is further in the log or does not read it
 * now.
 */
typedef struct LogTroubleKey
{
	int manager;
	int lane;
	char name[LOG_MAX_NAME];
} LogTroubleKey;

typedef struct LogTroubleEntry
{
	LogTroubleKey key; /* hash key */
	TimestampTz since;
} LogTroubleEntry;

static HTAB *troubles = NULL;

static void
log_trouble_key(LogTroubleKey *key, int manager, int lane, const char *name)
{
	memset(key, 0, sizeof(*key));
	key->manager = manager;
	key->lane = lane;
	strlcpy(key->name, name, sizeof(key->name));
}

bool
log_trouble_lasts(int manager, int lane, const char *name)
{
	TimestampTz now = GetCurrentTimestamp();
	LogTroubleKey key;
	LogTroubleEntry *entry;
	bool found;

	if (troubles == NULL)
	{
		HASHCTL ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(LogTroubleKey);
		ctl.entrysize = sizeof(LogTroubleEntry);
		troubles = hash_create("pm log troubles", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	log_trouble_key(&key, manager, lane, name);
	entry = hash_search(troubles, &key, HASH_ENTER, &found);
	/* If the clock was set back, the time starts again. */
	if (!found || entry->since > now)
		entry->since = now;
	return TimestampDifferenceExceeds(entry->since, now, LOG_TROUBLE_PATIENCE);
}

void
log_trouble_over(int manager, int lane, const char *name)
{
	LogTroubleKey key;

	/* Every batch calls this for each log, and most often there is nothing to forget. */
	if (troubles == NULL || hash_get_num_entries(troubles) == 0)
		return;
	log_trouble_key(&key, manager, lane, name);
	(void) hash_search(troubles, &key, HASH_REMOVE, NULL);
}
