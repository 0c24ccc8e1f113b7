/*
 * insert_newest.h
 *		Finds the version of a stream in the partition that is being written.
 */
#ifndef PM_INSERT_NEWEST_H
#define PM_INSERT_NEWEST_H

#include "log/insert.h"

/*
 * The version of a stream that the caller has locked.  False if it is not certain, or if the
 * stream's last event is not in the newest partition.
 */
extern bool insert_newest(Insert *insert, Datum stream, int64 *version);

#endif /* PM_INSERT_NEWEST_H */
