/*
 * within.c
 *		Whose handler runs in this backend, and at what time it lives.
 *
 * Set by dispatch.c and catch_up.c, asked by the functions that handlers call.
 */
#include "pm.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/timestamp.h"
#include "within.h"

static ProcessManager *current = NULL;
static bool time_is_set = false;
static TimestampTz time_as_of;

PG_FUNCTION_INFO_V1(pm_now);

void
within_enter(ProcessManager *pm)
{
	Assert(current == NULL);
	current = pm;
}

void
within_leave(void)
{
	current = NULL;
}

/*
 * Does a handler run in this backend?
 */
bool
within_handler(void)
{
	return current != NULL;
}

/*
 * A handler may not change the process manager that it runs for: the batch has
 * its cursors in hand.
 */
void
within_refuse(const char *name)
{
	if (current != NULL && strcmp(current->name, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("process manager \"%s\" cannot be changed by its own handler", name)));
}

void
within_set_time(TimestampTz as_of)
{
	time_is_set = true;
	time_as_of = as_of;
}

void
within_clear_time(void)
{
	time_is_set = false;
}

/*
 * pm.now()
 */
Datum
pm_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(time_is_set ? time_as_of : GetCurrentTransactionStartTimestamp());
}
