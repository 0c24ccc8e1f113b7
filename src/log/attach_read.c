/*
 * attach_read.c
 *		Makes events of the rows of an attached log.
 *
 * An expression can fail for a row, for example if the data is a text that is not JSON.
 * That must not end the transaction of a process manager, which may follow other logs too.
 * So the error is caught.  There is no subtransaction for each row: before the evaluation,
 * the values are copied from the row and from TOAST tables into memory, so the functions
 * that are called (attach_allow.c) hold nothing that an error would leave behind.
 */
#include "pm.h"

#include "access/detoast.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "log/attach_read.h"
#include "log/attached.h"

/* The columns that expressions read may have this many bytes together. */
#define ATTACH_READ_BYTES ((Size) 64 * 1024 * 1024)

struct AttachScan
{
	PmLog *log;
	ExprContext *econtext;
	ExprState *filter;
	ExprState *exprs[EVENT_ATTRIBUTES + 1];
	TupleTableSlot *values; /* the values that the expressions read */
	Datum empty;			/* {} */
	Datum null;				/* null, in JSON */
	Datum no_text;			/* '' */
};

static Datum
attach_json(const char *text)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

AttachScan *
attach_scan_begin(PmLog *log, Relation rel)
{
	AttachScan *scan = palloc0(sizeof(AttachScan));

	attached_require_types(log, rel);
	scan->log = log;
	scan->econtext = CreateStandaloneExprContext();
	scan->values = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	scan->empty = attach_json("{}");
	scan->null = attach_json("null");
	scan->no_text = CStringGetTextDatum("");
	if (log->attached->filter != NULL)
		scan->filter = ExecInitExpr((Expr *) log->attached->filter, NULL);
	for (int i = EVENT_STREAM; i <= EVENT_ATTRIBUTES; i++)
		if (log->attached->exprs[i] != NULL)
			scan->exprs[i] = ExecInitExpr((Expr *) log->attached->exprs[i], NULL);
	return scan;
}

void
attach_scan_end(AttachScan *scan)
{
	FreeExprContext(scan->econtext, true);
	ExecDropSingleTupleTableSlot(scan->values);
	pfree(scan);
}

/*
 * Copies the columns that are to be read into scan->values.  False if they are too large.
 */
static bool
attach_copy_columns(AttachScan *scan, TupleTableSlot *slot, const AttachColumns *columns)
{
	TupleDesc desc = scan->values->tts_tupleDescriptor;
	Size bytes = 0;

	ExecClearTuple(scan->values);
	memset(scan->values->tts_isnull, true, sizeof(bool) * desc->natts);
	memset(scan->values->tts_values, 0, sizeof(Datum) * desc->natts);
	for (int i = 0; i < columns->count; i++)
	{
		AttrNumber attnum = columns->columns[i].attnum;
		bool isnull;
		Datum value = slot_getattr(slot, attnum, &isnull);

		if (!isnull && TupleDescAttr(desc, attnum - 1)->attlen == -1)
		{
			bytes += toast_raw_datum_size(value);
			if (bytes > ATTACH_READ_BYTES)
				return false;
			value = PointerGetDatum(PG_DETOAST_DATUM(value));
		}
		scan->values->tts_values[attnum - 1] = value;
		scan->values->tts_isnull[attnum - 1] = isnull;
	}
	ExecStoreVirtualTuple(scan->values);
	return true;
}

/*
 * Evaluates the filter, or all other expressions.
 */
static void
attach_evaluate(AttachScan *scan, EventFields *event, bool *passed)
{
	ExprContext *econtext = scan->econtext;

	econtext->ecxt_scantuple = scan->values;
	if (event == NULL)
	{
		bool isnull;

		*passed = DatumGetBool(ExecEvalExpr(scan->filter, econtext, &isnull)) && !isnull;
		return;
	}
	for (int i = EVENT_STREAM; i <= EVENT_ATTRIBUTES; i++)
		if (scan->exprs[i] != NULL)
			event->values[i - 1] = ExecEvalExpr(scan->exprs[i], econtext, &event->nulls[i - 1]);
}

/*
 * The same.  Returns the message of the error, if there is one.  Errors that concern the
 * whole session are thrown again.
 */
static char *
attach_try(AttachScan *scan, TupleTableSlot *slot, const AttachColumns *columns, EventFields *event,
		   bool *passed)
{
	MemoryContext caller = MemoryContextSwitchTo(scan->econtext->ecxt_per_tuple_memory);
	char *volatile message = NULL;

	if (!attach_copy_columns(scan, slot, columns))
	{
		MemoryContextSwitchTo(caller);
		return psprintf("the columns of the expressions have more than %zu bytes",
						ATTACH_READ_BYTES);
	}
	PG_TRY();
	{
		attach_evaluate(scan, event, passed);
	}
	PG_CATCH();
	{
		ErrorData *error;
		int category;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
			category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION))
			PG_RE_THROW();
		FlushErrorState();
		message = pstrdup(error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return message;
}

/*
 * Attributes that cannot be NULL in an ordinary log get another value here.
 */
static void
attach_fill_nulls(AttachScan *scan, EventFields *event)
{
	static const int texts[] = {EVENT_STREAM, EVENT_TYPE};

	for (int i = 0; i < lengthof(texts); i++)
		if (event->nulls[texts[i] - 1])
		{
			event->values[texts[i] - 1] = scan->no_text;
			event->nulls[texts[i] - 1] = false;
		}
	if (event->nulls[EVENT_DATA - 1])
	{
		event->values[EVENT_DATA - 1] = scan->null;
		event->nulls[EVENT_DATA - 1] = false;
	}
	if (event->nulls[EVENT_METADATA - 1])
	{
		event->values[EVENT_METADATA - 1] = scan->empty;
		event->nulls[EVENT_METADATA - 1] = false;
	}
}

static void
attach_position(AttachScan *scan, TupleTableSlot *slot, EventFields *event)
{
	bool isnull;
	Datum value = slot_getattr(slot, scan->log->attnum[EVENT_POSITION], &isnull);

	event->values[EVENT_POSITION - 1] = scan->log->attached->narrow ?
											Int64GetDatum((int64) DatumGetInt32(value)) :
											value;
	event->nulls[EVENT_POSITION - 1] = isnull;
}

char *
attach_scan_event(AttachScan *scan, TupleTableSlot *slot, EventFields *event, bool *passed)
{
	struct AttachedLog *attached = scan->log->attached;
	char *message;

	ResetExprContext(scan->econtext);
	for (int i = EVENT_STREAM; i <= EVENT_ATTRIBUTES; i++)
	{
		event->values[i - 1] = (Datum) 0;
		event->nulls[i - 1] = true;
	}
	attach_position(scan, slot, event);
	*passed = true;
	if (scan->filter != NULL)
	{
		message = attach_try(scan, slot, &attached->by_filter, NULL, passed);
		if (message != NULL || !*passed)
			return message;
	}
	for (int i = EVENT_STREAM; i <= EVENT_ATTRIBUTES; i++)
		if (scan->log->attnum[i] != InvalidAttrNumber)
			event->values[i - 1] = slot_getattr(slot, scan->log->attnum[i], &event->nulls[i - 1]);
	if (attached->computed)
	{
		message = attach_try(scan, slot, &attached->by_exprs, event, passed);
		if (message != NULL)
			return message;
	}
	attach_fill_nulls(scan, event);
	return NULL;
}
