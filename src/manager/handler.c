/*
 * handler.c
 *		The functions of a process manager, ready to be called in a batch.
 *
 * They run as the process manager's owner, who is the role of the session in a
 * dispatcher and in pm.catch_up.  handler_find.c finds the functions,
 * handler_check.c checks whether they may be called, and handler_watch.c calls
 * them with a timeout.
 */
#include "pm.h"

#include "catalog/pg_proc.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "base/event.h"
#include "manager/handler.h"
#include "manager/handler_check.h"
#include "manager/handler_find.h"
#include "manager/handler_watch.h"

void
handler_open(Handler *handler, ProcessManager *pm, bool lanes)
{
	memset(handler, 0, sizeof(*handler));
	/* Without a handler, there may be a correlate function for consumers. */
	if (pm->handler != NULL)
		fmgr_info(handler_find_again(pm, pm->handler, &pm->found_handler, &handler_use_handler),
				  &handler->function);
	handler->kind = pm->kind;
	handler->event_type = event_type();
	handler->timeout = pm->handler_timeout;
	if (pm->correlate != NULL)
	{
		Oid correlate = handler_find_again(pm, pm->correlate, &pm->found_correlate,
										   &handler_use_correlate);

		if (lanes)
			handler_require_immutable(correlate);
		fmgr_info(correlate, &handler->correlate);
		handler->correlates = true;
		handler->fans_out = handler_fans_out(correlate);
		handler_check_pair(pm->kind, correlate);
		/*
		 * A function that is not IMMUTABLE may depend on what the handlers of earlier
		 * events write.
		 */
		handler->foretells = func_volatile(correlate) == PROVOLATILE_IMMUTABLE;
	}
	else
		handler->foretells = true;
}

void
handler_call(Handler *handler, Datum argument)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &handler->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = argument;
	fcinfo->args[0].isnull = false;
	(void) handler_watch_call(fcinfo, &handler->times);
}

Datum
handler_call_instance(Handler *handler, Datum event, Datum state, bool no_state, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &handler->function, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = state;
	fcinfo->args[1].isnull = no_state;
	result = handler_watch_call(fcinfo, &handler->times);
	*isnull = fcinfo->isnull;
	return result;
}

Datum
handler_call_correlate(Handler *handler, Datum event, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, &handler->correlate, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = event;
	fcinfo->args[0].isnull = false;
	result = handler_watch_call(fcinfo, NULL);
	*isnull = fcinfo->isnull;
	return result;
}

Datum
handler_event_array(Handler *handler, Datum *events, int count)
{
	return PointerGetDatum(
		construct_array(events, count, handler->event_type, -1, false, TYPALIGN_DOUBLE));
}
