/*
 * key.c
 *		Keys, which tell which instance of a process manager an event belongs to.
 *
 * A key is a text: what the user's function correlate returns, or the name of the
 * stream.  Keys are kept in indexes, which cannot contain long values, so a long
 * key is stored as its SHA-256 hash.  A key that looks like such a hash is hashed
 * too, so that no two keys are stored under the same name.
 *
 * A batch keeps what it knows of each key in a hash table (Keys).
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/hashfn.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "port/pg_crc32c.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/key.h"

PG_FUNCTION_INFO_V1(pm_lane_of);

#define KEY_HASHED "sha256:"

typedef struct KeySlot
{
	const char *name;
	uint32 hash;
	char status;
	Key *key;
} KeySlot;

#define SH_PREFIX			 keyslot
#define SH_ELEMENT_TYPE		 KeySlot
#define SH_KEY_TYPE			 const char *
#define SH_KEY				 name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b)	 (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE		   static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

void
key_begin(Keys *keys)
{
	keys->context = CurrentMemoryContext;
	keys->table = keyslot_create(CurrentMemoryContext, 64, NULL);
	keys->all = NIL;
	keys->asks = 0;
}

/*
 * The stored name of a key and its lane must stay the same when a database is dumped
 * and restored in another encoding, so they are computed from the key in UTF-8.
 *
 * A key that contains invalid bytes can neither be converted nor be restored in
 * another encoding.  So its bytes are used as they are.  An error would be wrong,
 * because it would keep all other events from being handled.
 */
static const char *
key_in_utf8(const char *name, size_t *len)
{
	int encoding = GetDatabaseEncoding();
	Oid conversion;
	size_t room = *len * MAX_CONVERSION_GROWTH + 1;
	unsigned char *converted;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || *len == 0)
		return name;
	conversion = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(conversion) || room > PG_INT32_MAX)
		return name;
	/* With noError, the conversion stops at the first invalid byte, and returns how far it got. */
	converted = MemoryContextAllocHuge(CurrentMemoryContext, room);
	if (pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
									  (unsigned char *) unconstify(char *, name), (int) *len,
									  converted, (int) room, true) != (int) *len)
		return name;
	*len = strlen((char *) converted);
	return (char *) converted;
}

/*
 * The hashed form of a key, which is given in UTF-8.
 */
static char *
key_shorten(const char *name, size_t len)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *result = palloc(sizeof(KEY_HASHED) + 2 * PG_SHA256_DIGEST_LENGTH);
	char *at;

	if (pg_cryptohash_init(ctx) < 0 || pg_cryptohash_update(ctx, (const uint8 *) name, len) < 0 ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the hash of a key: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
	at = stpcpy(result, KEY_HASHED);
	at += hex_encode((const char *) digest, sizeof(digest), at);
	*at = '\0';
	return result;
}

Key *
key_find(Keys *keys, const char *name)
{
	KeySlot *slot = keyslot_lookup(keys->table, name);

	return slot != NULL ? slot->key : NULL;
}

Key *
key_get_text(Keys *keys, const char *name)
{
	MemoryContext caller;
	KeySlot *slot = keyslot_lookup(keys->table, name);
	bool found;

	if (slot != NULL)
		return slot->key;
	/* The entry lives as long as the batch; the caller's copy of the name may be freed earlier. */
	caller = MemoryContextSwitchTo(keys->context);
	name = pstrdup(name);
	slot = keyslot_insert(keys->table, name, &found);
	slot->key = palloc0(sizeof(Key));
	slot->key->name = name;
	keys->all = lappend(keys->all, slot->key);
	MemoryContextSwitchTo(caller);
	return slot->key;
}

/*
 * The name under which a key is stored, if that is a hash; NULL if the key is
 * stored as it is.  "value" is the key as the user's code made it.
 */
static char *
key_hashed(text *value)
{
	size_t len = VARSIZE_ANY_EXHDR(value);
	const char *utf8 = key_in_utf8(VARDATA_ANY(value), &len);
	size_t prefix = strlen(KEY_HASHED);

	/* A key that begins with the prefix could be the stored name of another key. */
	if (len > KEY_MAX || (len >= prefix && memcmp(utf8, KEY_HASHED, prefix) == 0))
		return key_shorten(utf8, len);
	return NULL;
}

char *
key_stored(Datum name)
{
	text *value = DatumGetTextPP(name);
	char *hashed = key_hashed(value);

	return hashed ? hashed : text_to_cstring(value);
}

/*
 * Is this the name that key_shorten() makes of a long key?
 */
static bool
key_is_short_name(text *value)
{
	size_t prefix = strlen(KEY_HASHED);
	const char *name = VARDATA_ANY(value);

	return VARSIZE_ANY_EXHDR(value) == prefix + 2 * PG_SHA256_DIGEST_LENGTH &&
		   memcmp(name, KEY_HASHED, prefix) == 0 &&
		   strspn(pnstrdup(name + prefix, 2 * PG_SHA256_DIGEST_LENGTH), "0123456789abcdef") ==
			   2 * PG_SHA256_DIGEST_LENGTH;
}

char *
key_stored_name(Datum given)
{
	text *value = DatumGetTextPP(given);

	return key_is_short_name(value) ? text_to_cstring(value) : key_stored(given);
}

Key *
key_get(Keys *keys, Datum name)
{
	return key_get_text(keys, key_stored(name));
}

/*
 * The hash determines the lane of a key.  Lanes are stored with timers, with parked
 * events and by repartition.c, so the hash must be the same on every machine and in
 * every version.  It is a CRC-32C whose bits are then mixed.
 */
uint32
key_hash(const char *name, size_t len)
{
	const char *utf8 = key_in_utf8(name, &len);
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, utf8, len);
	FIN_CRC32C(crc);
	return murmurhash32(crc);
}

uint32
key_hash_text(Datum name)
{
	text *value = DatumGetTextPP(name);
	char *hashed = key_hashed(value);

	if (hashed != NULL)
		return key_hash(hashed, strlen(hashed));
	return key_hash(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * pm_catalog.lane_of(key, lanes)
 */
Datum
pm_lane_of(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);

	if (PG_GETARG_INT32(1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("lanes must be at least 1")));
	PG_RETURN_INT32(key_hash(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) % PG_GETARG_INT32(1));
}

Datum
key_array(List *keys)
{
	Datum *texts = palloc(sizeof(Datum) * Max(list_length(keys), 1));
	ListCell *lc;
	int count = 0;

	foreach(lc, keys)
		texts[count++] = CStringGetTextDatum(((Key *) lfirst(lc))->name);
	return PointerGetDatum(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}
