/*
 * shared_memory.c
 *		Registers the parts of the library that need shared memory.
 *
 * A part is a file that keeps something in shared memory.  It adds its two
 * functions while the postmaster preloads the library; the hooks of PostgreSQL
 * are installed here once for all of them.
 */
#include "pm.h"

#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/shared_memory.h"

static struct
{
	void (*request)(void); /* or NULL */
	void (*startup)(void);
} parts[8];
static int nparts = 0;

static shmem_request_hook_type prev_shmem_request_hook;
static shmem_startup_hook_type prev_shmem_startup_hook;

static void
shared_memory_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < nparts; i++)
		if (parts[i].request != NULL)
			parts[i].request();
}

/*
 * Runs in the postmaster when the server starts, and again, with new memory,
 * after one of its processes has crashed.  Where processes are not forked, it
 * also runs in each of them.
 */
static void
shared_memory_startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nparts; i++)
		parts[i].startup();
	LWLockRelease(AddinShmemInitLock);
}

void
shared_memory_add(void (*request)(void), void (*startup)(void))
{
	Assert(process_shared_preload_libraries_in_progress);
	if (nparts == lengthof(parts))
		elog(ERROR, "too many parts of shared memory");
	if (nparts == 0)
	{
		prev_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = shared_memory_request;
		prev_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = shared_memory_startup;
	}
	parts[nparts].request = request;
	parts[nparts].startup = startup;
	nparts++;
}
