/*
 * done.c
 *		pm.done(): the value that ends an instance.
 *
 * A handler may return a value that comes from an event or a table.  So an
 * instance must not be ended by a value that a user could have written there.
 * While the handler of an instance runs, pm.done() returns a value with a random
 * token, which is the same throughout the call.  Only that value ends the
 * instance, and only if the same call of the handler returns it.  Outside of
 * such a call pm.done() returns a fixed value, so that a test can call a handler
 * as a function and compare the result.  If a handler returns the fixed value to
 * a batch, that becomes the instance's state, like any other value.
 *
 * The value also has the result that the handler has given, if any.
 *
 * A value with the token of an earlier call comes from an IMMUTABLE function
 * that wraps pm.done(), or from a function that has stored the value.  The
 * instance would remain, with that value as its state, so this is an error.
 */
#include "pm.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "base/within.h"
#include "manager/done.h"

#define DONE_MARK		   "$pm"

#define DONE_SESSION_BYTES 8
#define DONE_TOKEN_BYTES   16
#define DONE_TOKEN_LENGTH  (2 * (DONE_SESSION_BYTES + DONE_TOKEN_BYTES))

PG_FUNCTION_INFO_V1(pm_done);

/* In hexadecimal digits: a part for the session, then one for the call. */
static char token[DONE_TOKEN_LENGTH + 1];
static bool session_known = false;
static bool called = false; /* has this call called pm.done()?  Then the token is its own */

/*
 * Writes random bytes into the token.
 */
static void
done_random(int at, int bytes)
{
	uint8 random[DONE_TOKEN_BYTES];

	Assert(bytes <= lengthof(random));
	if (!pg_strong_random(random, bytes))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random bytes")));
	(void) hex_encode((const char *) random, bytes, token + 2 * at);
	token[2 * (at + bytes)] = '\0';
}

static void
done_push(CompatJsonb *object, const char *key, JsonbValue *value)
{
	JsonbValue name;

	name.type = jbvString;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	compat_jsonb_push(object, WJB_KEY, &name);
	compat_jsonb_push(object, WJB_VALUE, value);
}

static void
done_push_string(CompatJsonb *object, const char *key, const char *text)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = (int) strlen(text);
	done_push(object, key, &value);
}

/*
 * The value: with a token, unless it is NULL, and with a result, unless that is NULL.
 */
static Datum
done_value(const char *with_token, Jsonb *result)
{
	CompatJsonb object = {0};

	compat_jsonb_push(&object, WJB_BEGIN_OBJECT, NULL);
	done_push_string(&object, DONE_MARK, "done");
	if (with_token != NULL)
		done_push_string(&object, "token", with_token);
	if (result != NULL)
	{
		JsonbValue value;

		JsonbToJsonbValue(result, &value);
		if (JB_ROOT_IS_SCALAR(result))
			(void) JsonbExtractScalar(&result->root, &value);
		done_push(&object, "result", &value);
	}
	compat_jsonb_push(&object, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(object.result));
}

void
done_begin(void)
{
	called = false;
}

/*
 * pm.done(result)
 */
Datum
pm_done(PG_FUNCTION_ARGS)
{
	/* Version 0.1.0 of the extension has no argument. */
	Jsonb *result = PG_NARGS() > 0 && !PG_ARGISNULL(0) ? PG_GETARG_JSONB_P(0) : NULL;

	if (!within_has_instance())
		PG_RETURN_DATUM(done_value(NULL, result));
	/* There is one token for each call, which is made when the call first needs it. */
	if (!called)
	{
		if (!session_known)
			done_random(0, DONE_SESSION_BYTES);
		session_known = true;
		done_random(DONE_SESSION_BYTES, DONE_TOKEN_BYTES);
		called = true;
	}
	PG_RETURN_DATUM(done_value(token, result));
}

static JsonbValue *
done_field(Jsonb *object, const char *name, JsonbValue *room)
{
	return getKeyJsonValueFromContainer(&object->root, name, (int) strlen(name), room);
}

/*
 * Has pm.done() made this value, in this call or in an earlier one of the session?
 */
static bool
done_is_ours(Jsonb *value, JsonbValue *their_token)
{
	JsonbValue room;
	JsonbValue *found;

	if (!session_known || !JB_ROOT_IS_OBJECT(value))
		return false;
	found = done_field(value, "token", their_token);
	return found != NULL && found->type == jbvString &&
		   found->val.string.len == DONE_TOKEN_LENGTH &&
		   memcmp(found->val.string.val, token, 2 * DONE_SESSION_BYTES) == 0 &&
		   done_field(value, DONE_MARK, &room) != NULL;
}

/*
 * Takes the result out of the value, in the current memory context.  False if the value
 * has anything else that pm.done() does not put there.
 */
static bool
done_result(Jsonb *value, NullableDatum *result)
{
	JsonbValue room;
	JsonbValue *found = done_field(value, "result", &room);

	result->isnull = found == NULL;
	if (found != NULL)
		result->value = JsonbPGetDatum(JsonbValueToJsonb(found));
	return JB_ROOT_COUNT(value) == (found == NULL ? 2 : 3);
}

bool
done_is(Datum returned, const char *handler, NullableDatum *result)
{
	Jsonb *value = DatumGetJsonbP(returned);
	JsonbValue their_token;

	if (!done_is_ours(value, &their_token))
		return false;
	/* If this call has not called pm.done(), the value cannot be its own. */
	if (called && memcmp(their_token.val.string.val, token, DONE_TOKEN_LENGTH) == 0 &&
		done_result(value, result))
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("handler %s returned a value that pm.done() returned in another call", handler),
			 errhint("Call pm.done() each time that an instance ends. "
					 "A function that wraps it must not be IMMUTABLE.")));
}
