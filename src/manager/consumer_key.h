/*
 * consumer_key.h
 *		The key for which a consumer calls a function.
 */
#ifndef PM_CONSUMER_KEY_H
#define PM_CONSUMER_KEY_H

#include "base/key.h"
#include "manager/consumer.h"

/* An instance that a consumer may change, because it holds the lane of its key. */
typedef struct ConsumerInstance
{
	ConsumerCall call;
	int lane;
	Keys keys;
	Key *key; /* loaded; key->live says whether there is an instance */
} ConsumerInstance;

/* Begins a call of a function whose arguments of these numbers are name, consumer and key. */
extern void consumer_key_begin(ConsumerInstance *instance, FunctionCallInfo fcinfo,
							   const char *function, int name, int consumer, int key);

#endif /* PM_CONSUMER_KEY_H */
