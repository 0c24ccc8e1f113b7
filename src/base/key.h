/*
 * key.h
 *		Keys, which tell which instance of a process manager an event belongs to.
 */
#ifndef PM_KEY_H
#define PM_KEY_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

/* A key that has more bytes than this is stored as its hash. */
#define KEY_MAX 1000

/* One event goes to at most this many keys. */
#define KEY_FAN_OUT 1000

/* What a batch knows of a key: first the fields of park.c, then those of instance.c. */
typedef struct Key
{
	const char *name; /* as it is stored */
	uint64 asked;	  /* the number of the last event for which correlate has returned it */

	bool parked_known;
	bool parked; /* an event of this key is parked */

	bool loaded;
	bool stored; /* the instance has a row, at this place */
	ItemPointerData tid;
	bool live;	  /* there is an instance */
	bool ended;	  /* the batch has ended it */
	bool changed; /* the row has to be written */
	Datum state;  /* jsonb */
	TimestampTz started_at;
	TimestampTz updated_at;
	bool keep_state; /* when the handler returns another one, this one is not freed */
	int64 entries;	 /* the entries of its journal so far; only set if there is a journal */
} Key;

struct keyslot_hash;

/* The keys of a batch. */
typedef struct Keys
{
	struct keyslot_hash *table;
	MemoryContext context;
	List *all;
	uint64 asks; /* the number of events that correlate has been asked about */
} Keys;

/* Initializes an empty set of keys, which lives as long as the current memory context. */
extern void key_begin(Keys *keys);

/* The entry of a key, by the text that the user's code made.  Created if there is none. */
extern Key *key_get(Keys *keys, Datum name);

/* The same by the name under which the key is stored. */
extern Key *key_get_text(Keys *keys, const char *name);

/*
 * The name under which a key is stored, for a key that a person has given.  The name that the
 * views show of a long key is accepted, too.
 */
extern char *key_stored_name(Datum given);

/* The entry of a key by its stored name, or NULL if the batch has not met it. */
extern Key *key_find(Keys *keys, const char *name);

/* The name under which a key is stored, by the text that the user's code made. */
extern char *key_stored(Datum name);

/* The hash of a key, by its stored name or by the text of the user's code. */
extern uint32 key_hash(const char *name, size_t len);
extern uint32 key_hash_text(Datum name);

/* The stored names of a list of keys as a text[]. */
extern Datum key_array(List *keys);

#endif /* PM_KEY_H */
