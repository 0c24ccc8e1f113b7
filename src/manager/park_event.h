/*
 * park_event.h
 *		Reads parked events from their logs.
 */
#ifndef PM_PARK_EVENT_H
#define PM_PARK_EVENT_H

#include "log/log_index.h"
#include "log/log_trouble.h"
#include "manager/park_queue.h"

typedef struct ParkReader
{
	bool wait;	/* wait for a log that is locked */
	PmLog *log; /* that is open, or NULL */
	LogIndexScan scan;
	Size bytes;			/* read so far */
	LogTrouble trouble; /* why the last event could not be read */
} ParkReader;

extern void park_event_begin(ParkReader *reader, bool wait);
/*
 * Reads the event into *parked, as it is in its log now; parked->event is 0 if it is
 * gone.  False if the log cannot be read: then reader->trouble says why.
 */
extern bool park_event_read(ParkReader *reader, Parked *parked);
/* Has so much been read that the rest is better left to the next batch? */
extern bool park_event_enough(const ParkReader *reader);
extern void park_event_end(ParkReader *reader);

#endif /* PM_PARK_EVENT_H */
