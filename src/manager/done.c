/*
 * done.c
 *		pm.done(): the value that ends an instance.
 *
 * A handler may return what an event or a table holds, so no value that a user
 * can write may end an instance.  In the call of an instance's handler,
 * pm.done() makes a value with a random token, the same in the whole call.
 * Only that value ends the instance, and only when it is what this very call
 * returns.  Elsewhere pm.done() returns a fixed value, so that a test can call
 * a handler as a function and compare; returned by a handler in earnest it is
 * a state like any other.
 *
 * A value with a token of an earlier call comes from a function that wraps
 * pm.done() and says that it is IMMUTABLE, or from one that keeps the value.
 * The instance would live on with it as its state, so that is an error.
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

static char token[DONE_TOKEN_LENGTH + 1]; /* of this session, then of this call */
static bool session_known = false;
static bool called = false; /* in this call, so that the token is of this call */

/*
 * Adds random bytes to the token, as digits.
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

/*
 * The handler of an instance is about to be called.
 */
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

/*
 * Does what the handler has returned end its instance?
 */
bool
done_is(Datum result, const char *handler)
{
	Jsonb *state = DatumGetJsonbP(result);

	if (called)
	{
		Jsonb *mine = DatumGetJsonbP(done_value());

		if (VARSIZE(state) == VARSIZE(mine) &&
			compareJsonbContainers(&state->root, &mine->root) == 0)
			return true;
	}
	if (done_is_stale(state))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("handler %s returned what pm.done() has made in another call", handler),
			 errhint(
				 "Call pm.done() each time that an instance ends. A function that wraps it must not be IMMUTABLE.")));
	return false;
}
