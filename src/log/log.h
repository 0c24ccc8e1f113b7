/*
 * log.h
 *		An event log as a backend knows it.
 */
#ifndef PM_LOG_H
#define PM_LOG_H

#include "executor/spi.h"

#include "base/event.h"
#include "shmem/handling.h"

/* Whose table it is, and how it is written.  pm_catalog.log.kind has these letters. */
typedef enum LogKind
{
	LOG_ORDINARY = 'o',	   /* made by pm.create_log */
	LOG_ATTACHED = 'a',	   /* the table of another program */
	LOG_PARTITIONED = 'p', /* partitioned by range of position */
	LOG_REPLICA = 'r'	   /* filled by a subscription */
} LogKind;

/* A log's name is shorter than this, in bytes. */
#define LOG_MAX_NAME HANDLING_LOG_NAME

/* The statements that pm.append plans for each log. */
enum
{
	LOG_PLAN_APPEND,
	LOG_PLAN_APPEND_EXPECTING,
	LOG_PLAN_APPEND_REST,
	LOG_PLAN_STREAM_VERSION,
	LOG_PLAN_VISIBLE,
	/* The first three once more, with a given recorded_at. */
	LOG_PLAN_APPEND_AT,
	LOG_PLAN_APPEND_EXPECTING_AT,
	LOG_PLAN_APPEND_REST_AT,
	LOG_PLANS
};

/* Is it a plain log?  insert.c says what that is. */
typedef struct LogShape
{
	bool known; /* the fields below have been set */
	bool plain;
	Oid stream_index; /* unique on (stream, version) */
	Oid plain_leaf;	  /* a partition that can be written as a plain log */
} LogShape;

/*
 * A log as this backend knows it.  It belongs to the cache (log_cache.c), and
 * stays valid until the end of the transaction.
 */
typedef struct PmLog
{
	const char *name;  /* its first name, by which everything that is stored refers to it */
	const char *title; /* its present name, for users */
	LogKind kind;
	Oid relid;
	Oid seqid;
	Oid owner;			/* of the table */
	Oid schema;			/* of the table */
	const char *table;	/* qualified and quoted; empty if the table is gone */
	bool partitioned;	/* the table is, so its events are in the leaves */
	const char *only;	/* before the table's name in FROM: "ONLY ", or "" if it is partitioned */
	const char *stream; /* the names of the columns, quoted */
	const char *pos;
	const char *version;
	const char *type;
	const char *data;
	const char *metadata;
	const char *recorded_at;
	/* Of the columns, by EVENT_POSITION and so on.  In an attached log it can be invalid. */
	AttrNumber attnum[EVENT_ATTRIBUTES + 1];
	struct AttachedLog *attached; /* NULL: another kind, or it has a problem */

	bool at_home;		   /* its sequence was last accepted in this database */
	bool sequence_changed; /* the sequence has another file than the accepted one */

	/* Why the log cannot be used, NULL if nothing is wrong. */
	const char *problem;
	const char *hint;

	bool indexed; /* it is known that there is an index of the positions */

	bool stale; /* it may have changed since it was built */
	LogShape shape;
	MemoryContext context;
	SPIPlanPtr plans[LOG_PLANS];
	struct PmLog *next_stale;
} PmLog;

/* A column that the table of a log must have. */
typedef struct LogColumn
{
	const char *name; /* that pm.create_log gives it */
	Oid type;
	bool notnull;
} LogColumn;

/* These columns, by EVENT_POSITION to EVENT_RECORDED_AT. */
extern const LogColumn log_columns[EVENT_ATTRIBUTES + 1];

/* A name as it is kept: "Sales.Orders" becomes sales.orders.  NULL if it is not a name. */
extern char *log_normalize(const char *name);
/* Records what is wrong with a log; only the first problem is kept. */
extern void log_note_problem(PmLog *log, const char *problem, const char *hint);
/* Raises an error if the log has a problem. */
extern void log_require_whole(PmLog *log);
/* Raises the error that a column does not have its type. */
COMPAT_NORETURN extern void log_refuse_types(PmLog *log);
/* The name of a log from an argument; an error if that is NULL. */
extern char *log_arg_name(FunctionCallInfo fcinfo, int arg);
/* The limit on the number of events from an argument; NULL means no limit. */
extern int64 log_arg_count(FunctionCallInfo fcinfo, int arg);

#endif /* PM_LOG_H */
