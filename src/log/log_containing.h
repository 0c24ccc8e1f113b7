/*
 * log_containing.h
 *		Reads a log's events by what their metadata contains.
 */
#ifndef PM_LOG_CONTAINING_H
#define PM_LOG_CONTAINING_H

#include "nodes/pg_list.h"

#include "log/log_index.h"

/*
 * Reads all events whose metadata contains one of the notes (of jsonb).  Other events
 * can be among them, so "take" must compare the metadata.  False if the log has no
 * index for that.
 */
extern bool log_containing(PmLog *log, List *notes, LogIndexTake take, void *arg);

#endif /* PM_LOG_CONTAINING_H */
