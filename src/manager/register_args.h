/*
 * register_args.h
 *		The arguments of pm.register.
 */
#ifndef PM_REGISTER_ARGS_H
#define PM_REGISTER_ARGS_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

/* The arguments, in the order in which CREATE FUNCTION pm.register and pm.alter have them. */
typedef enum RegisterArg
{
	REGISTER_ARG_NAME,
	REGISTER_ARG_HANDLER,
	REGISTER_ARG_LOGS,
	REGISTER_ARG_CORRELATE,
	REGISTER_ARG_TYPES,
	REGISTER_ARG_START_AT,
	REGISTER_ARG_ON_FAILURE,
	REGISTER_ARG_MAX_ATTEMPTS,
	REGISTER_ARG_BACKOFF,
	REGISTER_ARG_HANDLER_TIMEOUT,
	REGISTER_ARG_BATCH_SIZE,
	REGISTER_ARG_LANES,
	REGISTER_ARG_PARK_LIMIT,
	REGISTER_ARG_KEEP_ENDED,
	REGISTER_ARG_JOURNAL,
	REGISTER_ARG_LEASE,
	REGISTER_ARG_CONSUMERS,
	REGISTER_ARG_CARRY,
	REGISTER_ARGS
} RegisterArg;

typedef struct RegisterArgs
{
	uint32 given; /* a bit for each argument that is to be written: all of them for pm.register */
	char *name;
	char *handler;	 /* NULL: consumers do the work */
	List *logs;		 /* names as given; two of them can mean the same log */
	char *correlate; /* NULL: the stream */
	Datum types;	 /* text[], or 0 for all */
	char *start_at;	 /* NULL: not given */
	char *on_failure;
	int max_attempts;
	Interval *backoff;
	Interval *handler_timeout;
	int batch_size;
	int lanes;
	int park_limit;
	Interval *keep_ended; /* NULL: ended instances are not kept */
	bool journal;
	Interval *lease;
	List *consumers; /* names of roles */
	Datum carry;	 /* text[], or 0 for none */
} RegisterArgs;

/* Reads the arguments of pm.register, and refuses those that are wrong by themselves. */
extern void register_args_read(FunctionCallInfo fcinfo, RegisterArgs *args);

/* Reads the arguments of pm.alter, in which NULL means that a setting stays as it is. */
extern void register_args_read_changes(FunctionCallInfo fcinfo, RegisterArgs *args);

/* Is this argument to be written? */
extern bool register_args_has(const RegisterArgs *args, RegisterArg arg);

#endif /* PM_REGISTER_ARGS_H */
