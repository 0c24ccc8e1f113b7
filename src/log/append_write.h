/*
 * append_write.h
 *		Writes events into a stream, and counts its versions.
 */
#ifndef PM_APPEND_WRITE_H
#define PM_APPEND_WRITE_H

#include "base/exec.h"
#include "log/insert.h"
#include "log/log.h"

/* One call of pm.append or pm.append_all. */
typedef struct AppendCall
{
	PmLog *log;
	Datum stream;
	bool expecting; /* a version is expected */
	int64 expected;
	bool at;		  /* the events get "time" as recorded_at */
	TimestampTz time; /* if not, they get the column's default */
	bool trimmed;	  /* the stream had events with a version, and has none any more */
	bool direct;	  /* insert.c writes the log, with "insert" */
	Insert insert;
	ExecScope scope; /* if not, it is written by an INSERT in this scope */
} AppendCall;

/* Begins to write the log. */
extern void append_open(AppendCall *append);
/* Appends the first event, and returns its position; *version is the one that it got. */
extern int64 append_first(AppendCall *append, InsertEvent *event, int64 *version);
/* Appends a further event of the same call, with this version. */
extern int64 append_next(AppendCall *append, InsertEvent *event, int64 version);
/* Raises an error if a version plus "count" would be larger than the largest version. */
extern void append_require_room(AppendCall *append, int64 version, int count);
extern void append_close(AppendCall *append);
/*
 * The transaction, or subtransaction, that had appended the last event when this session last
 * raised a version conflict.  Invalid: not known.
 */
extern TransactionId append_lost_to(void);
/* Raises the error that the snapshot does not show what another transaction has appended. */
COMPAT_NORETURN extern void append_not_serializable(void);

#endif /* PM_APPEND_WRITE_H */
