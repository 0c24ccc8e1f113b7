/*
 * key.h
 *		Which instance of a process an event belongs to; what a batch knows of it.
 */
#ifndef PM_KEY_H
#define PM_KEY_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

/* A key in bytes; longer ones go by their hash. */
#define KEY_MAX 1000

/* One key in one batch: park.c's part, then instance.c's. */
typedef struct Key
{
	const char *name;

	bool parked_known;
	bool parked; /* an event of it is */

	bool loaded;
	bool stored; /* there is a row: */
	ItemPointerData tid;
	bool live;	  /* there is an instance */
	bool changed; /* the row is not as it should be */
	Datum state;  /* jsonb */
	TimestampTz started_at;
	TimestampTz updated_at;
} Key;

struct keyslot_hash;

typedef struct Keys
{
	struct keyslot_hash *table;
	MemoryContext context;
	List *all;
} Keys;

extern void key_begin(Keys *keys);
extern Key *key_get(Keys *keys, Datum name);
extern Key *key_get_text(Keys *keys, const char *name);
extern Key *key_find(Keys *keys, const char *name);
extern uint32 key_hash(const char *name, size_t len);
extern uint32 key_hash_text(Datum name);
extern Datum key_array(List *keys);

#endif /* PM_KEY_H */
