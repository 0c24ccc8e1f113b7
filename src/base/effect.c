/*
 * effect.c
 *		What a call of a handler has appended, and which timers it has set.
 *
 * The functions that handlers call note these effects here, for the journal of the
 * instance (journal.c) or a rehearsal.  What a handler has undone itself, by leaving a
 * block with an exception, is forgotten again: each note has the subtransaction in
 * which it was made, and the IDs of subtransactions increase.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/effect.h"

typedef struct Effect
{
	SubTransactionId subid;
	bool is_timer;
	char *name;		/* of the log, or the type of the timer */
	int64 position; /* of the event */
	TimestampTz due;
} Effect;

/* While this is NULL, nothing is noted. */
static MemoryContext context = NULL;
static MemoryContext kept_context = NULL;
static Effect *effects = NULL;
static int count = 0;
static int room = 0;

static void
effect_subxact_callback(SubXactEvent event, SubTransactionId mysubid, SubTransactionId parent,
						void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB || context == NULL)
		return;
	while (count > 0 && effects[count - 1].subid >= mysubid)
		count--;
}

void
effect_install(void)
{
	RegisterSubXactCallback(effect_subxact_callback, NULL);
}

void
effect_begin(void)
{
	if (kept_context == NULL)
		kept_context = AllocSetContextCreate(TopMemoryContext, "pm effects", ALLOCSET_SMALL_SIZES);
	/* Most calls do little, so resetting an empty context must cost nothing. */
	MemoryContextReset(kept_context);
	context = kept_context;
	effects = NULL;
	count = room = 0;
}

void
effect_end(void)
{
	context = NULL;
}

static Effect *
effect_add(void)
{
	if (count == room)
	{
		room = Max(8, room * 2);
		effects = effects == NULL ? MemoryContextAllocHuge(context, sizeof(Effect) * room) :
									repalloc_huge(effects, sizeof(Effect) * room);
	}
	effects[count].subid = GetCurrentSubTransactionId();
	return &effects[count++];
}

void
effect_appended(const char *log, int64 position)
{
	Effect *effect;

	if (context == NULL)
		return;
	effect = effect_add();
	effect->is_timer = false;
	effect->name = MemoryContextStrdup(context, log);
	effect->position = position;
}

void
effect_timer(Datum type, TimestampTz due)
{
	MemoryContext caller;
	Effect *effect;

	if (context == NULL)
		return;
	caller = MemoryContextSwitchTo(context);
	effect = effect_add();
	effect->is_timer = true;
	effect->name = TextDatumGetCString(type);
	effect->due = due;
	MemoryContextSwitchTo(caller);
}

/* ---------- as jsonb ---------- */

static void
effect_push_string(CompatJsonb *array, JsonbIteratorToken token, const char *text)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = (int) strlen(text);
	compat_jsonb_push(array, token, &value);
}

static void
effect_push(CompatJsonb *array, const Effect *effect)
{
	JsonbValue value;

	compat_jsonb_push(array, WJB_BEGIN_OBJECT, NULL);
	effect_push_string(array, WJB_KEY, effect->is_timer ? "type" : "log");
	effect_push_string(array, WJB_VALUE, effect->name);
	if (effect->is_timer)
	{
		char *due = palloc(MAXDATELEN + 1);

		JsonEncodeDateTime(due, TimestampTzGetDatum(effect->due), TIMESTAMPTZOID, NULL);
		effect_push_string(array, WJB_KEY, "due");
		effect_push_string(array, WJB_VALUE, due);
	}
	else
	{
		effect_push_string(array, WJB_KEY, "position");
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(effect->position);
		compat_jsonb_push(array, WJB_VALUE, &value);
	}
	compat_jsonb_push(array, WJB_END_OBJECT, NULL);
}

/*
 * The effects of one kind: the timers, or the appended events.
 */
static Datum
effect_array(bool timers)
{
	CompatJsonb array = {0};
	bool any = false;

	for (int i = 0; i < count; i++)
	{
		if (effects[i].is_timer != timers)
			continue;
		if (!any)
			compat_jsonb_push(&array, WJB_BEGIN_ARRAY, NULL);
		any = true;
		effect_push(&array, &effects[i]);
	}
	if (!any)
		return (Datum) 0;
	compat_jsonb_push(&array, WJB_END_ARRAY, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(array.result));
}

void
effect_read(Datum *appended, Datum *timers)
{
	*appended = *timers = (Datum) 0;
	if (count == 0)
		return;
	*appended = effect_array(false);
	*timers = effect_array(true);
}
