/*
 * report.c
 *		What pm writes to the server's log, and how much of it.
 *
 * A handler can fail a thousand times a second, each time with a message of three
 * megabytes, which would fill the disk.  So the texts of an error are cut before they
 * are stored or logged, and the messages about the process managers of a role are
 * counted.  In each database only REPORT_LINES of each kind are logged in a minute;
 * when the minute is over, a message says how many were left out.
 *
 * The count is in shared memory, because a dispatcher that ends and starts again must
 * not get a new one.  Without the preloaded library each session counts for itself.
 */
#include "pm.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/report.h"
#include "base/shared_memory.h"

#define REPORT_MINUTE 60000 /* messages are counted for this long, ms */
#define REPORT_LINES  20	/* messages of one kind that are logged in that time */
#define REPORT_ROLES  512	/* roles for which messages can be counted at once */
#define REPORT_MARK	  48	/* room for the mark at the end of a text that was cut, bytes */

/* The messages about the process managers of one role in one database. */
typedef struct ReportCount
{
	Oid database; /* InvalidOid: the entry is free */
	Oid role;
	TimestampTz began; /* when the minute began */
	int lines[REPORT_SLOW + 1];
	int64 dropped; /* messages that were left out and not yet reported */
} ReportCount;

typedef struct ReportShared
{
	LWLock lock;
	ReportCount roles[REPORT_ROLES];
	ReportCount others; /* roles for which there is no entry */
} ReportShared;

static ReportShared *shared = NULL;
static ReportCount alone;	   /* the count of a session without shared memory */
static TimestampTz say_at = 0; /* when to report what was left out, DT_NOEND: nothing */
static NameData database;

static emit_log_hook_type prev_emit_log_hook;

static void
report_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(ReportShared)));
}

static void
report_startup(void)
{
	bool found;

	shared = ShmemInitStruct("pm report", sizeof(ReportShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(ReportShared));
		LWLockInitialize(&shared->lock, compat_new_tranche("pm report"));
	}
	compat_register_tranche(shared->lock.tranche, "pm report");
}

/*
 * Called from _PG_init while the postmaster preloads.
 */
void
report_install(void)
{
	shared_memory_add(report_request, report_startup);
}

/* ---------- how long a text may be ---------- */

/*
 * The original length of a text.  If the text was cut before, its mark contains
 * that length.  Only a text that is longer than what is kept can have a mark.
 */
static size_t
report_length(const char *text, size_t length)
{
	const char *mark = strrchr(text, '[');
	size_t was;
	int end = 0;

	if (length > REPORT_KEPT - MAX_MULTIBYTE_CHAR_LEN && mark != NULL &&
		sscanf(mark, "[cut: it has %zu bytes]%n", &was, &end) == 1 && end > 0 &&
		mark[end] == '\0' && was > length)
		return was;
	return length;
}

/*
 * The cut is after a whole character.  The mark stands beyond the limit, where no text
 * of a user can be, so it cannot be forged.
 */
const char *
report_cut(const char *text, int limit)
{
	size_t length = text == NULL ? 0 : strlen(text);
	size_t was;
	int left;

	if (length <= (size_t) limit)
		return text;
	was = report_length(text, length);
	/* A text that was cut before and is stored again stays as it is. */
	if (was > length && limit == REPORT_KEPT && length <= (size_t) limit + REPORT_MARK)
		return text;
	left = pg_mbcliplen(text, Min(length, (size_t) limit + MAX_MULTIBYTE_CHAR_LEN), limit);
	return psprintf("%.*s [cut: it has %zu bytes]", left, text, was);
}

/*
 * The last line of a context says what was being handled.  So this line is kept,
 * and the text before it is cut.
 */
const char *
report_cut_context(const char *context, int limit)
{
	size_t length = context == NULL ? 0 : strlen(context);
	const char *last = context == NULL ? NULL : strrchr(context, '\n');
	const char *first;
	int left;

	if (length <= (size_t) limit ||
		(limit == REPORT_KEPT && length <= (size_t) limit + REPORT_MARK))
		return context;
	if (last == NULL || strlen(last) > (size_t) limit / 2)
		return report_cut(context, limit);
	left = limit - (int) strlen(last);
	left = pg_mbcliplen(context, Min(length, (size_t) left + MAX_MULTIBYTE_CHAR_LEN), left);
	first = pnstrdup(context, left);
	return psprintf("%s [cut: it has %zu bytes]%s", first, length, last);
}

/*
 * Notices and warnings that a handler raises are logged as the server's settings
 * say.  They are not counted, but their texts are cut like those of errors.
 */
static void
report_emit(ErrorData *error)
{
	MemoryContext caller = MemoryContextSwitchTo(error->assoc_context);

	error->message = unconstify(char *, report_cut(error->message, REPORT_KEPT));
	error->detail = unconstify(char *, report_cut(error->detail, REPORT_KEPT));
	error->detail_log = unconstify(char *, report_cut(error->detail_log, REPORT_KEPT));
	error->hint = unconstify(char *, report_cut(error->hint, REPORT_KEPT));
	error->context = unconstify(char *, report_cut_context(error->context, REPORT_KEPT));
	error->internalquery = unconstify(char *, report_cut(error->internalquery, REPORT_KEPT));
	MemoryContextSwitchTo(caller);
	if (prev_emit_log_hook)
		prev_emit_log_hook(error);
}

void
report_begin(void)
{
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = report_emit;
	(void) report_database();
}

/*
 * A database cannot be renamed while this session is connected to it.
 */
const char *
report_database(void)
{
	if (NameStr(database)[0] == '\0')
	{
		char *name = get_database_name(MyDatabaseId);

		if (name == NULL)
			return "?";
		namestrcpy(&database, name);
		pfree(name);
	}
	return NameStr(database);
}

/* ---------- how many lines ---------- */

/*
 * The count for a role in this database.  The caller holds the lock.
 */
static ReportCount *
report_count(Oid role, TimestampTz now)
{
	ReportCount *room = NULL;

	if (shared == NULL)
		return &alone;
	for (int i = 0; i < REPORT_ROLES; i++)
	{
		ReportCount *count = &shared->roles[i];

		if (count->database == MyDatabaseId && count->role == role)
			return count;
		if (room == NULL && (!OidIsValid(count->database) || count->began > now ||
							 TimestampDifferenceExceeds(count->began, now, 2 * REPORT_MINUTE)))
			room = count;
	}
	if (room == NULL)
		return &shared->others;
	memset(room, 0, sizeof(ReportCount));
	room->database = MyDatabaseId;
	room->role = role;
	return room;
}

static void
report_lock(LWLockMode mode)
{
	if (shared != NULL)
		LWLockAcquire(&shared->lock, mode);
}

static void
report_unlock(void)
{
	if (shared != NULL)
		LWLockRelease(&shared->lock);
}

static void
report_say_dropped(Oid role, int64 dropped)
{
	char *name = GetUserNameFromId(role, true);

	ereport(LOG, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				  errmsg("%lld further messages about process managers of role \"%s\" in database "
						 "\"%s\" were not logged",
						 (long long) dropped, name ? name : "?", report_database()),
				  errhint("pm.status and pm.parked show what has failed.")));
}

bool
report_may(Oid role, ReportKind kind)
{
	TimestampTz now = GetCurrentTimestamp();
	ReportCount *count;
	int64 dropped = 0;
	bool may;

	report_lock(LW_EXCLUSIVE);
	count = report_count(role, now);
	if (count->began > now || TimestampDifferenceExceeds(count->began, now, REPORT_MINUTE))
	{
		/* The report names the role, whose name can only be looked up in a transaction. */
		if (IsTransactionState())
		{
			dropped = count->dropped;
			count->dropped = 0;
		}
		count->began = now;
		memset(count->lines, 0, sizeof(count->lines));
	}
	may = count->lines[kind] < REPORT_LINES;
	if (may)
		count->lines[kind]++;
	else
		count->dropped++;
	if (!may)
		say_at = Min(say_at, TimestampTzPlusMilliseconds(count->began, REPORT_MINUTE));
	report_unlock();
	if (dropped > 0)
		report_say_dropped(role, dropped);
	return may;
}

/*
 * A process that has just started returns a time in the past, so that it reports the
 * messages that an earlier process left out.
 */
TimestampTz
report_due(void)
{
	return say_at;
}

void
report_dropped(Oid role)
{
	TimestampTz now = GetCurrentTimestamp();
	ReportCount *count;
	int64 dropped = 0;

	say_at = DT_NOEND;
	report_lock(LW_EXCLUSIVE);
	count = report_count(role, now);
	if (count->dropped > 0)
	{
		TimestampTz over = TimestampTzPlusMilliseconds(count->began, REPORT_MINUTE);

		if (over > now && count->began <= now)
			say_at = over;
		else
		{
			dropped = count->dropped;
			count->dropped = 0;
		}
	}
	report_unlock();
	if (dropped > 0)
		report_say_dropped(role, dropped);
}

int
report_error(const ErrorData *error)
{
	if (error->detail != NULL)
		(void) errdetail_log("%s", report_cut(error->detail, REPORT_LOGGED));
	if (error->context != NULL)
		(void) errcontext("%s", report_cut_context(error->context, REPORT_LOGGED));
	return 0;
}
