/*
 * stat_file.h
 *		Keeps the counters over a restart of the server.
 */
#ifndef PM_STAT_FILE_H
#define PM_STAT_FILE_H

/* Called in the postmaster when the server starts: reads the file, and removes it. */
extern void stat_file_read(void);

/* Called in the postmaster when it ends: a callback of on_shmem_exit(). */
extern void stat_file_at_exit(int code, Datum arg);

#endif /* PM_STAT_FILE_H */
