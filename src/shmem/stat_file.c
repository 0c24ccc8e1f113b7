/*
 * stat_file.c
 *		Keeps the counters over a restart of the server.
 *
 * The postmaster writes the counters to a file when all other processes have ended, and
 * reads it when the server starts again.  As with PostgreSQL's own statistics, that is done
 * only for a clean shutdown: after any other, memory can be in any state, and what was
 * counted last may not have been committed.  The control file says how the server was shut
 * down.
 *
 * The file is removed when it has been read.  So after a crash there is no old one, and
 * base backups do not contain it.
 */
#include "pm.h"

#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "base/guc.h"
#include "shmem/stat_file.h"
#include "shmem/stat_memory.h"

#define STAT_FILE		PGSTAT_STAT_PERMANENT_DIRECTORY "/pm.stat"
#define STAT_FILE_NEW	PGSTAT_STAT_PERMANENT_DIRECTORY "/pm.stat.tmp"
#define STAT_FILE_MAGIC 0x706d7374

/* Must change when one of the structs here, or StatCounts, changes. */
#define STAT_FILE_FORMAT 1

typedef struct StatFileHeader
{
	uint32 magic;
	uint32 format;
	uint32 entry_size;
	uint32 count;
	TimestampTz began;
} StatFileHeader;

/* After the last entry, there is the checksum of all that precedes it. */
typedef struct StatFileEntry
{
	StatKey key;
	Oid owner;
	TimestampTz reset_at;
	TimestampTz counted_at;
	StatCounts counts;
} StatFileEntry;

/*
 * Was this a clean shutdown, not a crash or an immediate shutdown?
 */
static bool
stat_file_clean(void)
{
	bool valid;
	ControlFileData *control = get_controlfile(DataDir, &valid);
	bool clean = valid &&
				 (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return clean;
}

/* ---------- writing ---------- */

static bool
stat_file_put(FILE *file, const void *data, size_t size, pg_crc32c *crc)
{
	COMP_CRC32C(*crc, data, size);
	return fwrite(data, size, 1, file) == 1;
}

static bool
stat_file_put_all(FILE *file)
{
	StatFileHeader header;
	HASH_SEQ_STATUS seq;
	StatEntry *entry;
	pg_crc32c crc;
	bool put;

	memset(&header, 0, sizeof(header));
	header.magic = STAT_FILE_MAGIC;
	header.format = STAT_FILE_FORMAT;
	header.entry_size = sizeof(StatFileEntry);
	header.count = (uint32) hash_get_num_entries(StatEntries);
	header.began = Stats->began;
	INIT_CRC32C(crc);
	put = stat_file_put(file, &header, sizeof(header), &crc);
	hash_seq_init(&seq, StatEntries);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		StatFileEntry written;

		memset(&written, 0, sizeof(written));
		written.key = entry->key;
		written.owner = entry->owner;
		written.reset_at = entry->reset_at;
		written.counted_at = entry->counted_at;
		written.counts = entry->counts;
		put = put && stat_file_put(file, &written, sizeof(written), &crc);
	}
	FIN_CRC32C(crc);
	return put && fwrite(&crc, sizeof(crc), 1, file) == 1;
}

/*
 * No other process runs any more, so nothing is locked.
 */
void
stat_file_at_exit(int code, Datum arg)
{
	FILE *file;
	bool put;

	if (code != 0 || Stats == NULL || !stat_file_clean())
		return;
	file = AllocateFile(STAT_FILE_NEW, PG_BINARY_W);
	put = file != NULL && stat_file_put_all(file);
	if (file != NULL && FreeFile(file) != 0)
		put = false;
	if (!put)
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not write file \"%s\": %m", STAT_FILE_NEW),
					  errdetail("The counters of process managers are lost.")));
		(void) unlink(STAT_FILE_NEW);
		return;
	}
	(void) durable_rename(STAT_FILE_NEW, STAT_FILE, LOG);
}

/* ---------- reading ---------- */

/*
 * Is the file complete, undamaged, and of this format?  Reads its header.
 */
static bool
stat_file_valid(FILE *file, StatFileHeader *header)
{
	struct stat st;
	pg_crc32c crc;
	pg_crc32c expected;
	StatFileEntry entry;

	if (fstat(fileno(file), &st) != 0 || fread(header, sizeof(*header), 1, file) != 1 ||
		header->magic != STAT_FILE_MAGIC || header->format != STAT_FILE_FORMAT ||
		header->entry_size != sizeof(StatFileEntry) ||
		(uint64) st.st_size !=
			sizeof(*header) + sizeof(crc) + (uint64) header->count * sizeof(StatFileEntry))
		return false;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, sizeof(*header));
	for (uint32 i = 0; i < header->count; i++)
	{
		if (fread(&entry, sizeof(entry), 1, file) != 1)
			return false;
		COMP_CRC32C(crc, &entry, sizeof(entry));
	}
	FIN_CRC32C(crc);
	return fread(&expected, sizeof(expected), 1, file) == 1 && EQ_CRC32C(crc, expected);
}

/*
 * Takes the entries, of which there may be more than there is room for now.
 */
static void
stat_file_take(FILE *file, const StatFileHeader *header)
{
	StatFileEntry entry;

	Stats->began = header->began;
	if (fseek(file, sizeof(*header), SEEK_SET) != 0)
		return;
	for (uint32 i = 0; i < header->count && !stat_memory_full(); i++)
	{
		StatEntry *taken;

		if (fread(&entry, sizeof(entry), 1, file) != 1)
			return;
		taken = stat_memory_enter(&entry.key, get_hash_value(StatEntries, &entry.key), entry.owner);
		if (taken == NULL)
			return;
		taken->reset_at = entry.reset_at;
		taken->counted_at = entry.counted_at;
		taken->counts = entry.counts;
	}
}

void
stat_file_read(void)
{
	FILE *file = AllocateFile(STAT_FILE, PG_BINARY_R);
	StatFileHeader header;

	if (file == NULL)
	{
		if (errno == ENOENT)
			return;
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not read file \"%s\": %m", STAT_FILE),
				 errdetail("The counters of process managers begin at zero.")));
		/* It must not be read at a later start, after it has become readable. */
		(void) durable_unlink(STAT_FILE, LOG);
		return;
	}
	/* Otherwise the file is that of an earlier shutdown, and something has been counted since. */
	if (stat_file_clean())
	{
		if (stat_file_valid(file, &header))
			stat_file_take(file, &header);
		else
			ereport(LOG, (errcode(ERRCODE_DATA_CORRUPTED),
						  errmsg("file \"%s\" is damaged or of another version, and was ignored",
								 STAT_FILE),
						  errdetail("The counters of process managers begin at zero.")));
	}
	(void) FreeFile(file);
	(void) durable_unlink(STAT_FILE, LOG);
}
