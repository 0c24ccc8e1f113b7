/*
 * park_event.c
 *		Reads parked events from their logs.
 *
 * The row of a parked event only says where the event is (park.c).  The event is read
 * each time that it is tried, so a correction in the log takes effect.  If the log
 * cannot be read, the event is tried later, without counting an attempt.  If the event
 * is gone from the log, there is nothing left to try.
 *
 * An event that was parked was at or below the mark of its log.  So a reader that looks for
 * it at any later time, with a snapshot of its own, finds it unless it was deleted; no mark
 * is needed here.  pm.trim does not delete events that are parked, unless they were copied
 * (kept_event.c).
 */
#include "pm.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/event.h"
#include "log/kept_event.h"
#include "log/log_open.h"
#include "log/log_right.h"
#include "manager/park_event.h"

PG_FUNCTION_INFO_V1(pm_parked_event);

/* When this many bytes have been read, the rest of a queue is left to the next batch. */
#define PARK_EVENT_BYTES ((Size) 32 * 1024 * 1024)

void
park_event_begin(ParkReader *reader, bool wait)
{
	memset(reader, 0, sizeof(*reader));
	reader->wait = wait;
}

/*
 * Closes the log that is open.  The lock is released too, because a queue may have
 * events of any number of logs, and what has been read stays valid without it.
 */
void
park_event_end(ParkReader *reader)
{
	if (reader->log == NULL)
		return;
	log_index_end(&reader->scan);
	UnlockRelationOid(reader->log->relid, AccessShareLock);
	reader->log = NULL;
}

/*
 * Opens a log for the role of this session, which is the process manager's owner.
 * False if the log cannot be read now.
 */
static bool
park_event_open(ParkReader *reader, const char *name)
{
	bool locked = false;
	PmLog *log = reader->wait ? log_get(name, true) : log_open_nowait(name, &locked);

	memset(&reader->trouble, 0, sizeof(reader->trouble));
	if (reader->wait && log != NULL)
		log = log_lock(log, AccessShareLock);
	if (log == NULL)
	{
		if (locked)
			log_trouble_locked(&reader->trouble, name);
		else
			log_trouble_missing(&reader->trouble, name);
		return false;
	}
	if (!log_trouble(&reader->trouble, log, GetUserId()))
	{
		if (log_index_begin_lookups(&reader->scan, log, reader->wait))
		{
			reader->log = log;
			return true;
		}
		log_trouble_no_index(&reader->trouble, log);
	}
	UnlockRelationOid(log->relid, AccessShareLock);
	return false;
}

bool
park_event_read(ParkReader *reader, Parked *parked)
{
	EventFields fields;

	/* Events of one key often come from one log, which then stays open. */
	if (reader->log != NULL && strcmp(reader->log->name, parked->log) != 0)
		park_event_end(reader);
	if (reader->log == NULL && !park_event_open(reader, parked->log))
		return false;
	parked->event = (Datum) 0;
	if (!log_index_look_up(&reader->scan, parked->position, &fields))
	{
		if (log_index_locked(&reader->scan))
		{
			log_trouble_locked(&reader->trouble, parked->log);
			return false;
		}
		if (reader->scan.error != NULL)
		{
			memset(&reader->trouble, 0, sizeof(reader->trouble));
			log_trouble_row(&reader->trouble, reader->log, parked->position, reader->scan.error);
			return false;
		}
		if (!kept_event_find(parked->log, parked->position, &fields))
			return true;
	}
	parked->too_large = event_excess(&fields);
	parked->event = parked->too_large > 0 ? event_form_stub(&fields) : event_form(&fields);
	reader->bytes += HeapTupleHeaderGetDatumLength(DatumGetHeapTupleHeader(parked->event));
	return true;
}

bool
park_event_enough(const ParkReader *reader)
{
	return reader->bytes > PARK_EVENT_BYTES;
}

/* ---------- for the view ---------- */

/*
 * May the caller see events that a process manager of this owner has parked?  The
 * function can also be called without the view.
 */
static bool
park_event_may_see(PmLog *log, Oid owner)
{
	return log_may_read(log, GetUserId()) ||
		   (has_privs_of_role(GetUserId(), owner) && log_may_read(log, owner));
}

/*
 * pm_catalog.parked_event(log, position, owner): the event as it is in its log now.
 * If it is gone, or cannot be read at this moment, only its log and position are
 * filled.  A view that shows what is wrong does not wait for locks.
 */
Datum
pm_parked_event(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64 position = PG_GETARG_INT64(1);
	bool locked;
	PmLog *log = log_open_nowait(name, &locked);
	LogIndexScan scan;
	EventFields fields;
	bool found = false;
	Datum event;

	if (log != NULL && log->problem == NULL && park_event_may_see(log, PG_GETARG_OID(2)) &&
		log_index_begin_lookups(&scan, log, false))
	{
		found = log_index_look_up(&scan, position, &fields) ||
				(scan.error == NULL && kept_event_find(name, position, &fields));
		if (found)
			event = event_excess(&fields) > 0 ? event_form_stub(&fields) : event_form(&fields);
		log_index_end(&scan);
	}
	if (log != NULL)
		UnlockRelationOid(log->relid, AccessShareLock);
	if (found)
		PG_RETURN_DATUM(event);
	memset(fields.nulls, true, sizeof(fields.nulls));
	fields.nulls[EVENT_LOG - 1] = fields.nulls[EVENT_POSITION - 1] = false;
	fields.values[EVENT_LOG - 1] = PG_GETARG_DATUM(0);
	fields.values[EVENT_POSITION - 1] = Int64GetDatum(position);
	PG_RETURN_DATUM(event_form(&fields));
}
