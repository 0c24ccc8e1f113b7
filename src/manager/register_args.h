/*
 * register_args.h
 *		The arguments of pm.register.
 */
#ifndef PM_REGISTER_ARGS_H
#define PM_REGISTER_ARGS_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"

typedef struct RegisterArgs
{
	char *name;
	char *handler;
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
} RegisterArgs;

/* Reads the arguments of a call, and refuses those that are wrong by themselves. */
extern void register_args_read(FunctionCallInfo fcinfo, RegisterArgs *args);

#endif /* PM_REGISTER_ARGS_H */
