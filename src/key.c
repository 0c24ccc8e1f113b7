/*
 * key.c
 *		Which instance of a process an event belongs to; what a batch knows of it.
 *
 * A key is a text of the user's: what correlate returns, or the stream.  It is
 * kept in indexes, which take no long values, so that a long key goes by its
 * SHA-256.
 */
#include "pm.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/hashfn.h"
#include "common/sha2.h"
#include "key.h"
#include "mb/pg_wchar.h"
#include "port/pg_crc32c.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(pm_lane_of);

typedef struct KeySlot
{
	const char *name;
	uint32		hash;
	char		status;
	Key		   *key;
} KeySlot;

#define SH_PREFIX keyslot
#define SH_ELEMENT_TYPE KeySlot
#define SH_KEY_TYPE const char *
#define SH_KEY name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * A batch's keys live as long as the current memory context.
 */
void
key_begin(Keys *keys)
{
	keys->context = CurrentMemoryContext;
	keys->table = keyslot_create(CurrentMemoryContext, 64, NULL);
	keys->all = NIL;
}

/*
 * What a key is known by must not change when it is dumped and restored in
 * another encoding: all is computed from its form in UTF-8.
 */
static const char *
key_in_utf8(const char *name, size_t *len)
{
	char	   *converted;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return name;
	converted = pg_server_to_any(name, (int) *len, PG_UTF8);
	if (converted != name)
		*len = strlen(converted);
	return converted;
}

/*
 * "name" is in UTF-8.
 */
static char *
key_shorten(const char *name, size_t len)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *result = palloc(sizeof("sha256:") + 2 * PG_SHA256_DIGEST_LENGTH);
	char	   *at;

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) name, len) < 0 ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the hash of a key: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
	at = stpcpy(result, "sha256:");
	at += hex_encode((const char *) digest, sizeof(digest), at);
	*at = '\0';
	return result;
}

/*
 * The entry of a key, by its stored name.
 */
Key *
key_get_text(Keys *keys, const char *name)
{
	MemoryContext caller;
	KeySlot    *slot = keyslot_lookup(keys->table, name);
	bool		found;

	if (slot != NULL)
		return slot->key;
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
 * The entry of a key, given as the text that the user's code made.
 */
Key *
key_get(Keys *keys, Datum name)
{
	text	   *value = DatumGetTextPP(name);
	size_t		len = VARSIZE_ANY_EXHDR(value);
	const char *utf8 = key_in_utf8(VARDATA_ANY(value), &len);

	return key_get_text(keys, len > KEY_MAX ? key_shorten(utf8, len) : text_to_cstring(value));
}

/*
 * Which lane a key belongs to follows from this.  It is kept, in what a re-cut
 * writes down and in the lanes of timers and parked events, so that it must be
 * the same on every machine and in every version: CRC-32C, its bits mixed.
 */
uint32
key_hash(const char *name, size_t len)
{
	const char *utf8 = key_in_utf8(name, &len);
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, utf8, len);
	FIN_CRC32C(crc);
	return murmurhash32(crc);
}

/*
 * The same, given the key as the text that the user's code made.
 */
uint32
key_hash_text(Datum name)
{
	text	   *value = DatumGetTextPP(name);
	size_t		len = VARSIZE_ANY_EXHDR(value);
	const char *utf8 = key_in_utf8(VARDATA_ANY(value), &len);
	char	   *shorter;

	if (len <= KEY_MAX)
		return key_hash(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	shorter = key_shorten(utf8, len);
	return key_hash(shorter, strlen(shorter));
}

/*
 * pm_catalog.lane_of(key, lanes)
 */
Datum
pm_lane_of(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);

	PG_RETURN_INT32(key_hash(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) % PG_GETARG_INT32(1));
}

/*
 * Names of keys as a text[].
 */
Datum
key_array(List *keys)
{
	Datum	   *names = palloc(sizeof(Datum) * Max(list_length(keys), 1));
	ListCell   *lc;
	int			count = 0;

	foreach(lc, keys)
		names[count++] = CStringGetTextDatum(((Key *) lfirst(lc))->name);
	return PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
}
