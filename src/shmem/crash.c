/*
 * crash.c
 *		What handlers had in hand when the server crashed.
 *
 * A handler in C can take the whole server with it, and the server comes back
 * and calls it again.  So every dispatcher marks, in a mapped file, what it is
 * about to call a handler for: that costs a copy in memory and no commit, and
 * it survives the crash, which shared memory does not.  What we do with an
 * event ourselves (reading it, computing its key, setting it aside, saving the
 * state) is marked too: an event that crashes the server there does so again
 * after each restart.
 *
 * When one process crashes, the postmaster quits the others (SIGQUIT), as it
 * does in an immediate shutdown; these clear their marks.  So the mark that
 * stays is that of whoever crashed, or was killed.
 *
 * When the server starts, the postmaster sets the marks it finds aside, in the
 * second half of the file, since new dispatchers will use the first.  Each
 * database's scheduler then takes its own, before it starts a dispatcher, and
 * forgets them when what follows is committed.
 *
 * The file lies where base backups leave it out.  It need not survive a power
 * failure, which is nobody's fault.
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

#include "shmem/crash.h"

#define CRASH_FILE	  "pg_stat_tmp/pm_handling"
#define CRASH_MAGIC	  0x706d0004 /* another one when Handling changes */
#define CRASH_ENTRIES (2 * SLOT_MAX_WORKERS)

typedef struct CrashEntry
{
	uint32 valid; /* set last, cleared first */
	Oid database;
	Handling handling;
} CrashEntry;

typedef struct CrashFile
{
	uint32 magic;
	uint32 size; /* of this struct: another build's file is not ours */
	CrashEntry entries[CRASH_ENTRIES];
} CrashFile;

static CrashFile *file = NULL;
static volatile CrashEntry *mine = NULL;

/*
 * Maps the file, NULL if that is not possible: then crashes are not counted.
 * All its space is taken at once, since a mapped page that cannot be written
 * ends the process.
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
	/* Said once, by the postmaster. */
	if (create)
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not map file \"%s\": %m", CRASH_FILE),
				 errdetail("A handler that crashes the server is not recognised.")));
	return NULL;
}

/*
 * Runs in the postmaster when the server starts, and when it starts again
 * after a crash: nobody else uses the file.
 */
void
crash_startup(void)
{
	CrashFile *f = crash_map(true);
	int aside = SLOT_MAX_WORKERS;

	if (f == NULL)
		return;
	if (f->magic != CRASH_MAGIC || f->size != sizeof(CrashFile))
	{
		memset(f, 0, sizeof(CrashFile));
		f->magic = CRASH_MAGIC;
		f->size = sizeof(CrashFile);
	}
	for (int i = 0; i < SLOT_MAX_WORKERS; i++)
	{
		CrashEntry *entry = &f->entries[i];

		if (!entry->valid)
			continue;
		/* As long as there is room: what is there may be a dropped database's. */
		while (aside < CRASH_ENTRIES && f->entries[aside].valid)
			aside++;
		if (aside == CRASH_ENTRIES)
			aside = SLOT_MAX_WORKERS;
		f->entries[aside++] = *entry;
		entry->valid = 0;
	}
	(void) munmap(f, sizeof(CrashFile));
}

/*
 * The SIGQUIT handler: as PostgreSQL's own one, but for the mark.
 */
static void
crash_quit(SIGNAL_ARGS)
{
	if (mine != NULL)
		mine->valid = 0;
	_exit(2);
}

/*
 * Runs in a worker that has its slot.
 */
void
crash_attach(void)
{
	file = crash_map(false);
	if (file != NULL && file->magic == CRASH_MAGIC && file->size == sizeof(CrashFile))
	{
		mine = &file->entries[MyWorkerSlot - Slots->workers];
		pqsignal(SIGQUIT, crash_quit);
	}
	else
		file = NULL;
}

/*
 * Does this process mark anything?
 */
bool
crash_marks(void)
{
	return mine != NULL;
}

/*
 * A handler is about to be called for this, or it is worked on otherwise.
 */
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
 * Of the log that is marked, the event at this position is read next.  (A
 * handler that reads a log is marked itself, for its own event.)
 */
void
crash_mark_position(int64 position)
{
	if (mine != NULL && mine->handling.outside)
		mine->handling.position = position;
}

/*
 * Nothing is in hand any more.
 */
void
crash_unmark(void)
{
	if (mine != NULL)
		mine->valid = 0;
}

/*
 * The first mark of a database, from an entry on, that was found when the
 * server started; -1 if there is none.
 */
int
crash_next(Oid database, int from, Handling *handling)
{
	if (file == NULL)
		return -1;
	for (int i = Max(from, SLOT_MAX_WORKERS); i < CRASH_ENTRIES; i++)
		if (file->entries[i].valid && file->entries[i].database == database)
		{
			*handling = file->entries[i].handling;
			return i;
		}
	return -1;
}

/*
 * What follows from a mark is committed.
 */
void
crash_forget(int entry)
{
	file->entries[entry].valid = 0;
}
