/*
 * stream_version.h
 *		The version of a stream in a partitioned log, under a lock of the stream.
 */
#ifndef PM_STREAM_VERSION_H
#define PM_STREAM_VERSION_H

#include "storage/lock.h"

#include "log/insert.h"
#include "log/log_scan.h"

/* A stream that is locked. */
typedef struct StreamVersion
{
	LOCKTAG tag;
	int64 version;		/* the current one; 0: it has none */
	bool any;			/* it has events */
	TransactionId last; /* wrote the event with that version */
	bool newer;			/* there are events that the transaction's snapshot does not show */
} StreamVersion;

/*
 * Locks the stream and finds its version, after the transactions that have appended to it have
 * ended.  The log's table is locked.  "insert" is what the event is about to be written with, NULL
 * if it is an INSERT.
 */
extern void stream_version_lock(StreamVersion *stream, PmLog *log, Datum name, Insert *insert);
/* Fits the index of (stream, version) of a table of a partitioned log. */
extern bool stream_version_fits(LogScan *scan, Relation index);
/* Releases the lock, after the event has been written. */
extern void stream_version_unlock(StreamVersion *stream);

#endif /* PM_STREAM_VERSION_H */
