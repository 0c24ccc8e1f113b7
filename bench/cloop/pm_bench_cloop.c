/*
 * pm_bench_cloop.c
 *		The upper limits for pm: loops in C that do as little as possible; and the
 *		handlers in C.
 *
 * bench_c_loop handles a backlog.  It reads a batch in the order of the positions,
 * calls the handler for each event by fmgr, moves a cursor row, and commits, until
 * no event is left.  The bare reader is a background worker that does the same for
 * new events.  It sleeps on its latch, which is set at the end of a writer's
 * transaction (bench_wake, a trigger before each INSERT statement, requests that).
 *
 * Neither has a high-water mark, so with concurrent writers a reader loses events
 * that commit out of order.  Neither handles failures, limits the time of a handler,
 * or records the event that is being handled.  The effects of a call are visible to
 * the next call, as in pm.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_noop);
PG_FUNCTION_INFO_V1(bench_insert);
PG_FUNCTION_INFO_V1(bench_c_loop);
PG_FUNCTION_INFO_V1(bench_wake);
PG_FUNCTION_INFO_V1(bench_start_reader);

PGDLLEXPORT void _PG_init(void);
PGDLLEXPORT void bench_reader_main(Datum arg);

/*
 * The data of a loop, all of it in a memory context that lives as long as the loop.
 */
typedef struct Loop
{
	FmgrInfo handler;
	TupleDesc event_desc;
	SPIPlanPtr read_plan;
	SPIPlanPtr move_plan;
	MemoryContext per_event;
	int batch;
	int64 position;
} Loop;

/*
 * The arguments of a reader, which are passed in bgw_extra.
 */
typedef struct ReaderArgs
{
	Oid database;
	Oid role;
	Oid handler;
	int batch;
	char log[48];
	char name[48];
} ReaderArgs;

StaticAssertDecl(sizeof(ReaderArgs) <= BGW_EXTRALEN, "ReaderArgs must fit into bgw_extra");

/*
 * The latch of the reader, if there is one; writers set it.
 */
typedef struct Shared
{
	slock_t mutex;
	Latch *latch;
} Shared;

static Shared *shared = NULL;
static bool wake_at_end = false;
static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/*
 * bench_noop(event)
 */
Datum
bench_noop(PG_FUNCTION_ARGS)
{
	PG_RETURN_VOID();
}

/*
 * bench_insert(event): inserts a row into bench.effect.
 */
Datum
bench_insert(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	HeapTupleHeader event = PG_GETARG_HEAPTUPLEHEADER(0);
	Datum values[3];
	bool isnull;

	values[0] = GetAttributeByName(event, "position", &isnull);
	values[1] = GetAttributeByName(event, "stream", &isnull);
	values[2] = GetAttributeByName(event, "data", &isnull);
	SPI_connect();
	if (plan == NULL)
	{
		Oid argtypes[3] = {INT8OID, TEXTOID, JSONBOID};

		plan =
			SPI_prepare("INSERT INTO bench.effect (position, stream, amount) "
						"VALUES ($1, $2, ($3 OPERATOR(pg_catalog.->>) 'amount')::pg_catalog.int4)",
						3, argtypes);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not plan");
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert");
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * Prepares a plan that outlives the transaction.
 */
static SPIPlanPtr
plan_of(char *sql, int nargs, Oid *argtypes)
{
	SPIPlanPtr plan = SPI_prepare(sql, nargs, argtypes);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not plan: %s", sql);
	return plan;
}

/*
 * Must be called within SPI and with a snapshot.  The loop continues from the row of
 * bench.cursor with this name.
 */
static void
loop_prepare(Loop *loop, MemoryContext lasting, const char *log, Oid function, int batch,
			 const char *name)
{
	Oid read_types[2] = {INT8OID, INT4OID};
	Oid move_types[1] = {INT8OID};
	MemoryContext caller = MemoryContextSwitchTo(lasting);
	Oid *argtypes;
	int nargs;
	bool isnull;

	loop->per_event = AllocSetContextCreate(lasting, "event", ALLOCSET_DEFAULT_SIZES);
	fmgr_info_cxt(function, &loop->handler, lasting);
	(void) get_func_signature(function, &argtypes, &nargs);
	loop->event_desc = lookup_rowtype_tupdesc_copy(argtypes[0], -1);
	loop->batch = batch;
	MemoryContextSwitchTo(caller);
	loop->read_plan = plan_of(
		psprintf("SELECT %s::text, position, stream, version, type, data, metadata, recorded_at "
				 "FROM %s WHERE position > $1 ORDER BY position LIMIT $2",
				 quote_literal_cstr(log), log),
		2, read_types);
	loop->move_plan = plan_of(psprintf("UPDATE bench.cursor SET position = $1 WHERE name = %s",
									   quote_literal_cstr(name)),
							  1, move_types);
	SPI_execute(psprintf("SELECT position FROM bench.cursor WHERE name = %s",
						 quote_literal_cstr(name)),
				true, 1);
	if (SPI_processed != 1)
		elog(ERROR, "no such cursor: %s", name);
	loop->position = DatumGetInt64(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Calls the handler for the events that were read.
 */
static void
handle(Loop *loop, SPITupleTable *read, uint64 count)
{
	LOCAL_FCINFO(fcinfo, 1);
	MemoryContext caller = MemoryContextSwitchTo(loop->per_event);

	for (uint64 i = 0; i < count; i++)
	{
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		loop->position = DatumGetInt64(SPI_getbinval(read->vals[i], read->tupdesc, 2, &isnull));
		InitFunctionCallInfoData(*fcinfo, &loop->handler, 1, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = heap_copy_tuple_as_datum(read->vals[i], loop->event_desc);
		fcinfo->args[0].isnull = false;
		(void) FunctionCallInvoke(fcinfo);
		CommandCounterIncrement();
		UpdateActiveSnapshotCommandId();
		MemoryContextReset(loop->per_event);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Handles one batch, within SPI.  The caller commits.  Returns false if there was no event.
 */
static bool
loop_batch(Loop *loop)
{
	Datum values[2] = {Int64GetDatum(loop->position), Int32GetDatum(loop->batch)};
	SPITupleTable *read;
	uint64 count;

	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute_plan(loop->read_plan, values, NULL, true, 0);
	read = SPI_tuptable;
	count = SPI_processed;
	handle(loop, read, count);
	SPI_freetuptable(read);
	if (count > 0)
	{
		values[0] = Int64GetDatum(loop->position);
		if (SPI_execute_plan(loop->move_plan, values, NULL, false, 0) != SPI_OK_UPDATE ||
			SPI_processed != 1)
			elog(ERROR, "could not move the cursor");
	}
	PopActiveSnapshot();
	return count > 0;
}

/*
 * bench_c_loop(log, handler, batch, name)
 */
Datum
bench_c_loop(PG_FUNCTION_ARGS)
{
	char *log = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(3));
	Loop loop;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		elog(ERROR, "CALL it outside of a transaction");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	loop_prepare(&loop, CurrentMemoryContext, log, PG_GETARG_OID(1), PG_GETARG_INT32(2), name);
	while (loop_batch(&loop))
		SPI_commit();
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- the bare reader ---- */

/*
 * The writers' side: a trigger before each statement, and the end of the transaction.
 */
Datum
bench_wake(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "a trigger only");
	wake_at_end = true;
	PG_RETURN_POINTER(NULL);
}

static void
wake_reader(XactEvent event, void *arg)
{
	Latch *latch;

	if (!wake_at_end || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	wake_at_end = false;
	SpinLockAcquire(&shared->mutex);
	latch = shared->latch;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

static void
announce(Latch *latch)
{
	SpinLockAcquire(&shared->mutex);
	shared->latch = latch;
	SpinLockRelease(&shared->mutex);
}

static void
reader_leaves(int code, Datum arg)
{
	announce(NULL);
}

static void
reader_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
}

static void
reader_end(void)
{
	SPI_finish();
	CommitTransactionCommand();
}

void
bench_reader_main(Datum arg)
{
	ReaderArgs args;
	Loop loop;
	bool more;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args.database, args.role, 0);

	reader_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	loop_prepare(&loop, TopMemoryContext, args.log, args.handler, args.batch, args.name);
	PopActiveSnapshot();
	reader_end();
	before_shmem_exit(reader_leaves, (Datum) 0);
	announce(MyLatch);

	for (;;)
	{
		ResetLatch(MyLatch);
		do
		{
			reader_begin();
			more = loop_batch(&loop);
			reader_end();
		} while (more);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1L, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * bench_start_reader(log, handler, batch, name): starts a reader that runs as the calling
 * role, until pg_terminate_backend.
 */
Datum
bench_start_reader(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *started;
	ReaderArgs args = {0};
	pid_t pid;

	args.database = MyDatabaseId;
	args.role = GetUserId();
	args.handler = PG_GETARG_OID(1);
	args.batch = PG_GETARG_INT32(2);
	strlcpy(args.log, text_to_cstring(PG_GETARG_TEXT_PP(0)), sizeof(args.log));
	strlcpy(args.name, text_to_cstring(PG_GETARG_TEXT_PP(3)), sizeof(args.name));

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strcpy(worker.bgw_library_name, "pm_bench_cloop");
	strcpy(worker.bgw_function_name, "bench_reader_main");
	strcpy(worker.bgw_name, "bench reader");
	strcpy(worker.bgw_type, "bench reader");
	memcpy(worker.bgw_extra, &args, sizeof(args));
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &started) ||
		WaitForBackgroundWorkerStartup(started, &pid) != BGWH_STARTED)
		elog(ERROR, "could not start the reader");
	PG_RETURN_INT32(pid);
}

static void
shmem_request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(sizeof(Shared));
}

static void
shmem_startup(void)
{
	bool found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("pm_bench_cloop", sizeof(Shared), &found);
	if (!found)
	{
		SpinLockInit(&shared->mutex);
		shared->latch = NULL;
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * The library is in shared_preload_libraries, because the pointer to the latch is in shared memory.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		elog(ERROR, "pm_bench_cloop must be in shared_preload_libraries");
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	RegisterXactCallback(wake_reader, NULL);
}
