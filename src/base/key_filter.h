/*
 * key_filter.h
 *		A Bloom filter: rules out most keys that are not in a set, without searching the set.
 */
#ifndef PM_KEY_FILTER_H
#define PM_KEY_FILTER_H

/* A Bloom filter with two hash functions.  All zero: there is none. */
typedef struct KeyFilter
{
	uint64 *bits;
	uint32 mask;  /* the number of bits is a power of two; this is one less */
	uint32 count; /* keys that have been added */
} KeyFilter;

/* The maximum number of keys in a filter. */
#define KEY_FILTER_MAX 32768

/* Makes a filter from the hashes of its keys. */
extern void key_filter_make(KeyFilter *filter, const uint32 *hashes, int count);
extern void key_filter_free(KeyFilter *filter);

/* Adds a key by its name.  False if the filter is full. */
extern bool key_filter_add(KeyFilter *filter, const char *name);

/* Is it certain that a key is not in the set? */
extern bool key_filter_lacks(const KeyFilter *filter, const char *name);

/* The hash of a name. */
extern uint32 key_filter_hash(const char *name);

#endif /* PM_KEY_FILTER_H */
