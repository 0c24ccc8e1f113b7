/*
 * key_filter.c
 *		A Bloom filter: rules out most keys that are not in a set, without searching the set.
 *
 * It can be wrong in one direction only: it never says that a key of the set is absent.
 * Keys cannot be removed.  A filter is kept in memory of the backend until it is freed.
 */
#include "pm.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "base/key_filter.h"

/* With this many bits for each key, about one absent key in a hundred is not ruled out. */
#define KEY_FILTER_BITS 16

/* With fewer bits for each key, the filter would be of little use. */
#define KEY_FILTER_FEW 6

/* A filter has room for at least this many keys. */
#define KEY_FILTER_MIN 1024

uint32
key_filter_hash(const char *name)
{
	return hash_bytes((const unsigned char *) name, strlen(name));
}

static void
key_filter_set(KeyFilter *filter, uint32 hash)
{
	uint32 a = hash & filter->mask;
	uint32 b = murmurhash32(hash) & filter->mask;

	filter->bits[a / 64] |= UINT64CONST(1) << (a % 64);
	filter->bits[b / 64] |= UINT64CONST(1) << (b % 64);
	filter->count++;
}

void
key_filter_make(KeyFilter *filter, const uint32 *hashes, int count)
{
	uint32 size = pg_nextpower2_32((uint32) Max(count, KEY_FILTER_MIN) * KEY_FILTER_BITS);

	key_filter_free(filter);
	filter->bits = MemoryContextAllocZero(TopMemoryContext, size / BITS_PER_BYTE);
	filter->mask = size - 1;
	for (int i = 0; i < count; i++)
		key_filter_set(filter, hashes[i]);
}

void
key_filter_free(KeyFilter *filter)
{
	if (filter->bits != NULL)
		pfree(filter->bits);
	memset(filter, 0, sizeof(*filter));
}

bool
key_filter_add(KeyFilter *filter, const char *name)
{
	if (filter->count >= filter->mask / KEY_FILTER_FEW)
		return false;
	key_filter_set(filter, key_filter_hash(name));
	return true;
}

bool
key_filter_lacks(const KeyFilter *filter, const char *name)
{
	uint32 hash;
	uint32 a;
	uint32 b;

	if (filter->bits == NULL)
		return false;
	hash = key_filter_hash(name);
	a = hash & filter->mask;
	b = murmurhash32(hash) & filter->mask;
	return (filter->bits[a / 64] & (UINT64CONST(1) << (a % 64))) == 0 ||
		   (filter->bits[b / 64] & (UINT64CONST(1) << (b % 64))) == 0;
}
