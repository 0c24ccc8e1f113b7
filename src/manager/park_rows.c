/*
 * park_rows.c
 *		Writes the rows of parked events.
 *
 * If events fail often, a batch parks many.  Their rows are collected, and written at
 * once at the end of the batch (bulk.c), because a statement for each would cost several
 * times as much as a call of the handler.  Until then, the keys of the batch say which
 * of them have a queue.
 *
 * The ids are drawn when the rows are written.  They increase in the order in which the
 * rows were added, which is the order of the queues.
 */
#include "pm.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/bulk.h"
#include "base/event.h"
#include "base/report.h"
#include "base/version.h"
#include "log/log_name.h"
#include "manager/head.h"
#include "manager/park_queue.h"
#include "manager/park_rows.h"
#include "shmem/wakeup.h"

/* Rows are written when they have reached this number or size. */
#define PARK_ROWS_MAX	1000
#define PARK_ROWS_BYTES (4 * 1024 * 1024)

/* The columns of pm_catalog.parked by number. */
enum
{
	PARKED_ID = 1,
	PARKED_MANAGER,
	PARKED_LANE,
	PARKED_KEY,
	PARKED_LOG,
	PARKED_POSITION,
	PARKED_STATE,
	PARKED_STREAM,
	PARKED_VERSION,
	PARKED_TYPE,
	PARKED_DATA,
	PARKED_METADATA,
	PARKED_RECORDED_AT,
	PARKED_TOO_LARGE,
	PARKED_ATTEMPTS,
	PARKED_CRASHES,
	PARKED_RETRY_AT,
	PARKED_TROUBLE_SINCE,
	PARKED_MESSAGE,
	PARKED_DETAIL,
	PARKED_CONTEXT,
	PARKED_SQLSTATE,
	PARKED_AT,
	PARKED_ERROR_HINT
};
#define PARKED_COLUMNS	PARKED_ERROR_HINT
#define PARKED_OPTIONAL (PARKED_ERROR_HINT - PARKED_AT) /* since version 0.2.0 */

static const char *const parked_columns[] = {
	[PARKED_ID - 1] = "id",
	[PARKED_MANAGER - 1] = "process_manager",
	[PARKED_LANE - 1] = "lane",
	[PARKED_KEY - 1] = "key",
	[PARKED_LOG - 1] = "log",
	[PARKED_POSITION - 1] = "position",
	[PARKED_STATE - 1] = "state",
	[PARKED_STREAM - 1] = "stream",
	[PARKED_VERSION - 1] = "version",
	[PARKED_TYPE - 1] = "type",
	[PARKED_DATA - 1] = "data",
	[PARKED_METADATA - 1] = "metadata",
	[PARKED_RECORDED_AT - 1] = "recorded_at",
	[PARKED_TOO_LARGE - 1] = "too_large",
	[PARKED_ATTEMPTS - 1] = "attempts",
	[PARKED_CRASHES - 1] = "crashes",
	[PARKED_RETRY_AT - 1] = "retry_at",
	[PARKED_TROUBLE_SINCE - 1] = "trouble_since",
	[PARKED_MESSAGE - 1] = "message",
	[PARKED_DETAIL - 1] = "detail",
	[PARKED_CONTEXT - 1] = "context",
	[PARKED_SQLSTATE - 1] = "sqlstate",
	[PARKED_AT - 1] = "parked_at",
	[PARKED_ERROR_HINT - 1] = "error_hint",
};

StaticAssertDecl(lengthof(parked_columns) == PARKED_COLUMNS,
				 "parked_columns[] must have all columns");

static BulkTable parked_table = {"parked", parked_columns, PARKED_COLUMNS, PARKED_ID,
								 1,		   InvalidOid,	   PARKED_OPTIONAL};

/* The columns of an event, in the order of its attributes. */
static const AttrNumber parked_event[EVENT_ATTRIBUTES] = {
	[EVENT_LOG - 1] = PARKED_LOG,			[EVENT_POSITION - 1] = PARKED_POSITION,
	[EVENT_STREAM - 1] = PARKED_STREAM,		[EVENT_VERSION - 1] = PARKED_VERSION,
	[EVENT_TYPE - 1] = PARKED_TYPE,			[EVENT_DATA - 1] = PARKED_DATA,
	[EVENT_METADATA - 1] = PARKED_METADATA, [EVENT_RECORDED_AT - 1] = PARKED_RECORDED_AT,
};

typedef struct ParkRow
{
	const char *key;
	const char *log; /* if the row only refers to the event; else NULL */
	int64 position;
	Datum event; /* a copy of a timer, or of an event if the extension is older */
	int64 too_large;
	ParkVerdict verdict;
	TimestampTz parked_at;
	const char *message;
	const char *detail;
	const char *context;
	const char *sqlstate;
	const char *hint;
} ParkRow;

bool
park_rows_refer(void)
{
	return version_has("0.2.0");
}

void
park_rows_begin(ParkRows *rows, ProcessManager *pm, int lane)
{
	memset(rows, 0, sizeof(*rows));
	rows->pm = pm;
	rows->lane = lane;
	rows->context = CurrentMemoryContext;
}

ParkRows *
park_rows_now(ProcessManager *pm, int lane)
{
	ParkRows *rows = palloc(sizeof(ParkRows));

	park_rows_begin(rows, pm, lane);
	rows->now = true;
	return rows;
}

/* ---------- adding ---------- */

static const char *
park_rows_copy(ParkRows *rows, const char *text)
{
	if (text == NULL)
		return NULL;
	rows->bytes += strlen(text);
	return pstrdup(text);
}

/*
 * Copies what the row needs of an event.
 */
static void
park_rows_copy_event(ParkRows *rows, ParkRow *row, Datum event)
{
	EventFields fields;

	event_deform(event, &fields);
	if (!fields.nulls[EVENT_LOG - 1] && park_rows_refer())
	{
		char *title = TextDatumGetCString(fields.values[EVENT_LOG - 1]);
		char *first = log_name_first(title);

		/* The event has the name that the log has now. */
		row->log = first != NULL ? first : title;
		row->position = DatumGetInt64(fields.values[EVENT_POSITION - 1]);
		return;
	}
	row->event = datumCopy(event, false, -1);
	rows->bytes += HeapTupleHeaderGetDatumLength(DatumGetHeapTupleHeader(row->event));
}

void
park_rows_add(ParkRows *rows, const char *key, Datum event, int64 too_large,
			  const ParkVerdict *verdict, ErrorData *error)
{
	MemoryContext caller;
	ParkRow *row;

	/* In a context of its own, so that all of it can be freed when it has been written. */
	if (rows->rows == NIL)
		rows->context = AllocSetContextCreate(rows->context, "pm parked", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(rows->context);
	row = palloc0(sizeof(ParkRow));
	row->key = park_rows_copy(rows, key);
	park_rows_copy_event(rows, row, event);
	row->too_large = park_rows_refer() ? 0 : too_large;
	row->verdict = *verdict;
	row->parked_at = GetCurrentTimestamp();
	if (error != NULL)
	{
		row->message = park_rows_copy(rows, report_cut(error->message, REPORT_KEPT));
		row->detail = park_rows_copy(rows, report_cut(error->detail, REPORT_KEPT));
		row->context = park_rows_copy(rows, report_cut_context(error->context, REPORT_KEPT));
		row->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
		row->hint = park_rows_copy(rows, report_cut(error->hint, REPORT_KEPT));
	}
	rows->rows = lappend(rows->rows, row);
	MemoryContextSwitchTo(caller);
	if (rows->now)
		park_rows_write(rows);
}

int
park_rows_count(const ParkRows *rows)
{
	return list_length(rows->rows);
}

bool
park_rows_full(const ParkRows *rows)
{
	return list_length(rows->rows) >= PARK_ROWS_MAX || rows->bytes >= PARK_ROWS_BYTES;
}

/* ---------- writing ---------- */

static void
park_rows_set_text(Bulk *bulk, AttrNumber column, const char *text)
{
	bulk_set(bulk, column, text == NULL ? (Datum) 0 : CStringGetTextDatum(text), text == NULL);
}

static void
park_rows_set_event(Bulk *bulk, const ParkRow *row)
{
	EventFields fields;

	memset(fields.nulls, true, sizeof(fields.nulls));
	if (row->log == NULL)
		event_deform(row->event, &fields);
	else
	{
		fields.values[EVENT_LOG - 1] = CStringGetTextDatum(row->log);
		fields.values[EVENT_POSITION - 1] = Int64GetDatum(row->position);
		fields.nulls[EVENT_LOG - 1] = fields.nulls[EVENT_POSITION - 1] = false;
	}
	for (int i = 0; i < EVENT_ATTRIBUTES; i++)
		bulk_set(bulk, parked_event[i], fields.nulls[i] ? (Datum) 0 : fields.values[i],
				 fields.nulls[i]);
}

/*
 * Writes a row.  Returns its id.
 */
static int64
park_rows_write_one(Bulk *bulk, Datum manager, int lane, const ParkRow *row)
{
	int64 id = bulk_add(bulk);

	bulk_set(bulk, PARKED_MANAGER, manager, false);
	bulk_set(bulk, PARKED_LANE, Int32GetDatum(lane), false);
	park_rows_set_text(bulk, PARKED_KEY, row->key);
	park_rows_set_event(bulk, row);
	park_rows_set_text(bulk, PARKED_STATE, row->verdict.state);
	bulk_set(bulk, PARKED_TOO_LARGE, Int64GetDatum(row->too_large), false);
	bulk_set(bulk, PARKED_ATTEMPTS, Int32GetDatum(row->verdict.attempts), false);
	bulk_set(bulk, PARKED_CRASHES, Int32GetDatum(row->verdict.crashes), false);
	bulk_set(bulk, PARKED_RETRY_AT, TimestampTzGetDatum(row->verdict.retry_at),
			 TIMESTAMP_IS_NOEND(row->verdict.retry_at));
	bulk_set(bulk, PARKED_TROUBLE_SINCE, (Datum) 0, true);
	park_rows_set_text(bulk, PARKED_MESSAGE, row->message);
	park_rows_set_text(bulk, PARKED_DETAIL, row->detail);
	park_rows_set_text(bulk, PARKED_CONTEXT, row->context);
	park_rows_set_text(bulk, PARKED_SQLSTATE, row->sqlstate);
	bulk_set(bulk, PARKED_AT, TimestampTzGetDatum(row->parked_at), false);
	park_rows_set_text(bulk, PARKED_ERROR_HINT, row->hint);
	return id;
}

void
park_rows_write(ParkRows *rows)
{
	MemoryContext caller;
	MemoryContext parent;
	Datum manager;
	ListCell *lc;
	Bulk bulk;

	if (rows->rows == NIL)
		return;
	caller = MemoryContextSwitchTo(rows->context);
	manager = CStringGetTextDatum(rows->pm->name);
	bulk_begin(&bulk, &parked_table);
	foreach(lc, rows->rows)
	{
		ParkRow *row = lfirst(lc);
		int64 id = park_rows_write_one(&bulk, manager, rows->lane, row);

		/* An event behind others becomes due only when they have left the queue. */
		if (strcmp(row->verdict.state, "behind") == 0)
			continue;
		park_head_changed(rows->pm, rows->lane, id, row->verdict.retry_at);
		if (row->key != NULL)
			head_add_key(rows->pm->name, rows->lane, row->key);
	}
	bulk_end(&bulk);
	wakeup_moved();
	MemoryContextSwitchTo(caller);
	parent = MemoryContextGetParent(rows->context);
	MemoryContextDelete(rows->context);
	park_rows_begin(rows, rows->pm, rows->lane);
	rows->context = parent;
}
