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

static Datum
done_value(void)
{
	const char *text = called ? psprintf("{\"$pm\": \"done\", \"token\": \"%s\"}", token) :
								"{\"$pm\": \"done\"}";

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

void
done_begin(void)
{
	called = false;
}

/*
 * pm.done()
 */
Datum
pm_done(PG_FUNCTION_ARGS)
{
	if (!within_has_instance())
		PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"$pm\": \"done\"}")));
	/* There is one token for each call, which is made when the call first needs it. */
	if (!called)
	{
		if (!session_known)
			done_random(0, DONE_SESSION_BYTES);
		session_known = true;
		done_random(DONE_SESSION_BYTES, DONE_TOKEN_BYTES);
		called = true;
	}
	PG_RETURN_DATUM(done_value());
}

/*
 * Has pm.done() made this value in an earlier call?
 */
static bool
done_is_stale(Jsonb *result)
{
	JsonbValue room;
	JsonbValue *found;

	if (!session_known || !JB_ROOT_IS_OBJECT(result))
		return false;
	found = getKeyJsonValueFromContainer(&result->root, "token", strlen("token"), &room);
	return found != NULL && found->type == jbvString &&
		   found->val.string.len == DONE_TOKEN_LENGTH &&
		   memcmp(found->val.string.val, token, 2 * DONE_SESSION_BYTES) == 0 &&
		   getKeyJsonValueFromContainer(&result->root, "$pm", strlen("$pm"), &room) != NULL;
}

bool
done_is(Datum result, const char *handler)
{
	Jsonb *state = DatumGetJsonbP(result);

	/* If this call has not called pm.done(), its result cannot be the value. */
	if (called)
	{
		Jsonb *mine = DatumGetJsonbP(done_value());

		if (VARSIZE(state) == VARSIZE(mine) &&
			compareJsonbContainers(&state->root, &mine->root) == 0)
			return true;
	}
	if (done_is_stale(state))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("handler %s returned a value that pm.done() returned in another call",
						handler),
				 errhint("Call pm.done() each time that an instance ends. "
						 "A function that wraps it must not be IMMUTABLE.")));
	return false;
}
