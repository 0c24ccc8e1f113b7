/*
 * start_at.c
 *		Where a process manager begins in a log: start_at of pm.register.
 *
 * start_at is 'beginning', 'end', a position or a timestamp.  It is used only
 * for logs that the process manager has not followed so far.
 */
#include "pm.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "log/highwater_ask.h"
#include "log/log_index.h"
#include "log/log_index_ask.h"
#include "manager/start_at.h"

#define START_AT_HINT                                                                              \
	"Use start_at => 'beginning', 'end', a position (handling begins after it) or a timestamp."

/*
 * Reads start_at as a timestamp.
 */
static TimestampTz
start_at_timestamp(const char *start_at)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum result = (Datum) 0;

	/*
	 * The input function has no form that returns its error in all versions.
	 * It changes nothing that a subtransaction would have to undo.
	 */
	PG_TRY();
	{
		result = DirectFunctionCall3(timestamptz_in, CStringGetDatum(start_at),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid start_at: \"%s\"", start_at), errhint(START_AT_HINT)));
	}
	PG_END_TRY();
	return DatumGetTimestampTz(result);
}

/*
 * Does the text consist only of digits and signs?  Such a text is a position,
 * or not valid.
 */
static bool
start_at_is_number(const char *start_at)
{
	size_t digits = strspn(start_at, "+-0123456789");

	return digits > 0 && start_at[digits] == '\0';
}

/*
 * Raises an error if start_at is none of the four.
 */
void
start_at_check(const char *start_at)
{
	if (strcmp(start_at, "beginning") != 0 && strcmp(start_at, "end") != 0 &&
		!start_at_is_number(start_at))
		(void) start_at_timestamp(start_at);
}

/*
 * The position after which a process manager begins to handle a log.
 */
int64
start_at_position(PmLog *log, const char *start_at)
{
	Highwater mark;
	int64 position;
	char *end;

	if (start_at == NULL)
	{
		/* There is nothing to choose in an empty log. */
		if (log_index_last(log, PG_INT64_MIN, &position, NULL))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("log \"%s\" already has events", log->name), errhint(START_AT_HINT)));
		return 0;
	}
	if (strcmp(start_at, "beginning") == 0)
		return 0;

	/*
	 * A position above the mark may still be committed by another transaction.
	 * Its event is to be handled, even from 'end'.
	 */
	mark = highwater_await(log->relid, log->seqid, HIGHWATER_OWN, log->name);
	if (strcmp(start_at, "end") == 0)
		return mark.mark;

	errno = 0;
	position = strtoll(start_at, &end, 10);
	if (end != start_at && *end == '\0')
	{
		if (errno != 0 || position < 0 || position > mark.mark)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("position %s is not between 0 and the high-water mark of log \"%s\"",
							start_at, log->name),
					 errdetail("The high-water mark is %lld.", (long long) mark.mark)));
		return position;
	}

	if (!log_index_since(log, start_at_timestamp(start_at), &position))
		return mark.mark;
	return Min(position - 1, mark.mark);
}
