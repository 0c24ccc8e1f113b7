/*
 * log.h
 *		Event logs: from a name to a table and its columns.
 */
#ifndef PM_LOG_H
#define PM_LOG_H

#include "storage/lockdefs.h"

#include "base/event.h"
#include "base/exec.h"
#include "log/highwater.h"
#include "shmem/slot.h"

/* A name has fewer bytes. */
#define LOG_MAX_NAME SLOT_LOG_NAME

/* The statements planned for each log, each by who needs it. */
enum
{
	LOG_PLAN_APPEND,
	LOG_PLAN_APPEND_EXPECTING,
	LOG_PLAN_APPEND_REST,
	LOG_PLAN_STREAM_VERSION,
	LOG_PLANS
};

/* Is it a plain log?  insert.c says what that is. */
typedef struct LogShape
{
	bool known; /* looked at already */
	bool plain;
	Oid stream_index; /* unique on (stream, version) */
} LogShape;

/*
 * A log as this backend knows it.  Owned by log.c; good until the end of the
 * transaction.
 */
typedef struct PmLog
{
	const char *name;
	Oid relid;
	Oid seqid;
	Oid owner;			/* of the table */
	const char *table;	/* qualified and quoted */
	const char *stream; /* the other columns, quoted */
	const char *pos;
	const char *version;
	const char *type;
	const char *data;
	const char *metadata;
	const char *recorded_at;
	AttrNumber attnum[EVENT_ATTRIBUTES + 1]; /* of them, by EVENT_POSITION and so on */

	bool at_home;		   /* its sequence was last looked at in this database */
	bool sequence_changed; /* since it was last accepted */

	/* Why it cannot be read or relied on, NULL if nothing is wrong. */
	const char *problem;
	const char *hint;

	bool stale; /* it may have changed since */
	LogShape shape;
	MemoryContext context;
	SPIPlanPtr plans[LOG_PLANS];
	struct PmLog *next_doomed;
} PmLog;

/* A log that may not have been looked at yet. */
typedef struct LogSource
{
	char *name;
	Oid relid;
	bool at_home; /* its sequence was last looked at in this database */
} LogSource;

extern void log_install(void);
extern PmLog *log_get(const char *name, bool missing_ok);
extern PmLog *log_get_nowait(const char *name, bool *locked);
extern PmLog *log_lock(PmLog *log, LOCKMODE mode);
extern PmLog *log_open(const char *name);
extern PmLog *log_open_nowait(const char *name, bool *locked);
extern char *log_find(const char *name, Oid *relid, bool missing_ok);
extern PmLog *log_get_as(const char *name, Oid role);
extern PmLog *log_open_as(const char *name, Oid role);
extern bool log_has_right(Oid relid, Oid role);
extern char *log_grants(Oid relid, const char *role);
extern void log_require_right(const char *name, Oid relid, Oid role);
extern void log_require_whole(PmLog *log);
extern bool log_may_select(PmLog *log, Oid role);
extern bool log_owner_can_read(PmLog *log);
extern bool log_may_read(PmLog *log, Oid role);
extern void log_require_select(PmLog *log, Oid role);
extern void log_changed(void);
extern char *log_normalize(const char *name);
extern void log_refuse_types(PmLog *log);
extern void log_insert(const char *name, Oid relid, Oid file);
extern void log_delete(const char *name);
extern List *log_sources(void);
extern List *log_relids(void);
extern char *log_arg_name(FunctionCallInfo fcinfo, int arg);
extern int64 log_arg_count(FunctionCallInfo fcinfo, int arg);

#endif /* PM_LOG_H */
