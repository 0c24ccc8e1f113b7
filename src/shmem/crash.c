/*
 * crash.c
 *		Finds out which event a handler was called for when the server crashed.
 *
 * A handler in C can crash the whole server.  The server restarts, and pm calls the
 * handler again.  So before every call, a dispatcher writes into a mapped file for
 * which event it calls the handler.  Such a mark costs a copy in memory and no
 * commit, and unlike shared memory it survives the crash.  The dispatcher also marks
 * what pm itself does with an event (reading it, computing its key, setting it aside,
 * saving the state), because an event that crashes the server there would do so again
 * after each restart.
 *
 * When one process crashes, the postmaster ends the others with SIGQUIT, as in an
 * immediate shutdown.  Processes that get SIGQUIT clear their marks.  So the mark
 * that remains is that of the process that crashed or was killed.
 *
 * When the server starts, the postmaster moves the marks that it finds to the
 * second half of the file, since new dispatchers will use the first half.  Before
 * the scheduler of a database starts a dispatcher, it counts each mark of its
 * database as a failed attempt, and removes the mark when that is committed.
 *
 * The file is in a directory that base backups leave out.  It need not survive a
 * power failure, for which no handler is to blame.
 */
#include "pm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "base/shared_memory.h"
#include "shmem/crash.h"
#include "shmem/slot.h"

#define CRASH_FILE	  "pg_stat_tmp/pm_handling"
#define CRASH_MAGIC	  0x706d0005 /* must change when Handling changes */
#define CRASH_ENTRIES (WORKER_MAX + CRASH_MAX_FOUND)

typedef struct CrashEntry
{
	uint32 valid; /* is set last and cleared first */
	Oid database;
	Handling handling;
} CrashEntry;

typedef struct CrashFile
{
	uint32 magic;
	uint32 size; /* of this struct: the file of another build is not used */
	CrashEntry entries[CRASH_ENTRIES];
} CrashFile;

static CrashFile *file = NULL;
static volatile CrashEntry *mine = NULL;

/*
 * Maps the file.  Returns NULL if that is not possible; then crashes are not
 * counted.  All space of the file is allocated at once, because a process that
 * writes a mapped page for which the disk has no room is ended by a signal.
 */
static CrashFile *
crash_map(bool create)
{
	int fd = BasicOpenFile(CRASH_FILE, O_RDWR | PG_BINARY | (create ? O_CREAT : 0));
	void *map = MAP_FAILED;
	struct stat st;

	if (fd >= 0)
	{
		bool whole = fstat(fd, &st) == 0 && st.st_size == sizeof(CrashFile);

		if (!whole && create && ftruncate(fd, 0) == 0)
		{
			do
				errno = posix_fallocate(fd, 0, sizeof(CrashFile));
			while (errno == EINTR);
			whole = errno == 0;
		}
		if (whole)
			map = mmap(NULL, sizeof(CrashFile), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		(void) close(fd);
	}
	if (map != MAP_FAILED)
		return (CrashFile *) map;
	/* Only the postmaster reports this, and only once. */
	if (create)
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not map file \"%s\": %m", CRASH_FILE),
				 errdetail("A handler that crashes the server is not recognized.")));
	return NULL;
}

/*
 * Runs in the postmaster when the server starts, and when it starts again after a
 * crash: no other process uses the file then.
 */
static void
crash_startup(void)
{
	CrashFile *f;
	int aside = WORKER_MAX;

	/* Where processes are not forked, each of them sets up shared memory for itself. */
	if (IsUnderPostmaster)
		return;
	f = crash_map(true);
	if (f == NULL)
		return;
	if (f->magic != CRASH_MAGIC || f->size != sizeof(CrashFile))
	{
		memset(f, 0, sizeof(CrashFile));
		f->magic = CRASH_MAGIC;
		f->size = sizeof(CrashFile);
	}
	for (int i = 0; i < WORKER_MAX; i++)
	{
		CrashEntry *entry = &f->entries[i];

		if (!entry->valid)
			continue;
		while (aside < CRASH_ENTRIES && f->entries[aside].valid)
			aside++;
		/* There is no room: overwrite old marks, which may be those of a dropped database. */
		if (aside == CRASH_ENTRIES)
			aside = WORKER_MAX;
		f->entries[aside++] = *entry;
		entry->valid = 0;
	}
	(void) munmap(f, sizeof(CrashFile));
}

/*
 * The handler of SIGQUIT: like PostgreSQL's own, but clears the mark.
 */
static void
crash_quit(SIGNAL_ARGS)
{
	if (mine != NULL)
		mine->valid = 0;
	_exit(2);
}

/*
 * Nothing is being handled any more.
 */
void
crash_unmark(void)
{
	if (mine != NULL)
		mine->valid = 0;
}

void
crash_install(void)
{
	shared_memory_add(NULL, crash_startup);
	/* A worker that exits did not crash. */
	slot_at_detach(crash_unmark);
}

/*
 * A worker has an entry of its own, by the index of its slot.
 */
void
crash_attach(void)
{
	file = crash_map(false);
	if (file != NULL && file->magic == CRASH_MAGIC && file->size == sizeof(CrashFile))
	{
		mine = &file->entries[slot_my_index()];
		pqsignal(SIGQUIT, crash_quit);
	}
	else
		file = NULL;
}

bool
crash_marks(void)
{
	return mine != NULL;
}

void
crash_mark(const Handling *handling)
{
	if (mine == NULL)
		return;
	mine->valid = 0;
	pg_write_barrier();
	mine->database = MyDatabaseId;
	handling_copy((Handling *) &mine->handling, handling);
	pg_write_barrier();
	mine->valid = 1;
}

/*
 * If a handler reads a log, the mark is that of the handler's own event, and it is
 * kept.
 */
void
crash_mark_position(int64 position)
{
	if (mine != NULL && mine->handling.outside)
		mine->handling.position = position;
}

int
crash_next(Oid database, int from, Handling *handling)
{
	if (file == NULL)
		return -1;
	for (int i = Max(from, WORKER_MAX); i < CRASH_ENTRIES; i++)
		if (file->entries[i].valid && file->entries[i].database == database)
		{
			*handling = file->entries[i].handling;
			return i;
		}
	return -1;
}

void
crash_forget(int entry)
{
	file->entries[entry].valid = 0;
}
