/*
 * reading.h
 *		What has been read of a log: for a batch, and for the next.
 */
#ifndef PM_READING_H
#define PM_READING_H

#include "log/log.h"

/* Who may use it: all who follow the log, or one unit alone. */
typedef struct ReadingKey
{
	Oid relid;
	int manager; /* 0: all */
	int lane;
} ReadingKey;

typedef struct ReadingEvent
{
	int64 position;
	TimestampTz time; /* recorded_at */
	Datum event;	  /* a pm.event */
	int64 too_large;  /* 0, or its size: a stub stands for it */
} ReadingEvent;

/* All wanted events with after < position <= up_to. */
typedef struct Reading
{
	ReadingKey key; /* of the hash table */
	MemoryContext context;
	Size bytes;		/* in it */
	uint64 version; /* of the registration that said what is wanted; 0: all is */
	TimestampTz read_at;
	int64 after;
	int64 up_to;
	TimestampTz last_time; /* recorded_at of the last event, wanted or not */
	int looked_at;		   /* events, wanted or not */
	int count;
	int room;
	ReadingEvent *events;
} Reading;

/* Which events are wanted; NULL: all. */
typedef bool (*ReadingWants)(void *arg, const EventFields *event);

/*
 * What to read up to a settled position: so many events that are wanted, or so
 * many at all.
 */
typedef struct ReadingRequest
{
	ReadingKey key;
	uint64 version;
	int64 after;
	int64 up_to;
	int limit;
	int rows;
	ReadingWants wants;
	void *arg;
} ReadingRequest;

extern void reading_begin(void);
extern Reading *reading_find(const ReadingKey *key, uint64 version, int64 after, int *next);
extern Reading *reading_read(PmLog *log, const ReadingRequest *request);
extern void reading_forget(void);

#endif /* PM_READING_H */
