/*
 * consumer_key.c
 *		The key for which a consumer calls a function.
 *
 * A consumer can change the instances and timers of the lanes that it holds.
 */
#include "pm.h"

#include "base/argument.h"
#include "manager/consumer_key.h"
#include "manager/instance.h"
#include "manager/lane.h"

void
consumer_key_begin(ConsumerInstance *instance, FunctionCallInfo fcinfo, const char *function,
				   int name, int consumer, int key)
{
	Lease lease;
	LaneState state;
	char *stored;

	consumer_begin(&instance->call, fcinfo, function, name, consumer);
	argument_not_null(fcinfo, key, "key");
	/* For a long key, pm.fetch has returned the name under which the key is stored. */
	stored = key_stored_name(PG_GETARG_DATUM(key));
	instance->lane = key_hash(stored, strlen(stored)) % instance->call.pm->lanes;
	consumer_lock(&instance->call, instance->lane, &lease);
	/* Another session may have added timers, or parked them (head.c). */
	lane_state(instance->call.pm, instance->lane, &state);
	key_begin(&instance->keys);
	instance->key = key_get_text(&instance->keys, stored);
	instance_load(instance->call.pm, instance->key);
}
