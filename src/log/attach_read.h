/*
 * attach_read.h
 *		Makes events of the rows of an attached log.
 */
#ifndef PM_ATTACH_READ_H
#define PM_ATTACH_READ_H

#include "executor/tuptable.h"
#include "utils/relcache.h"

#include "log/log.h"

/* A scan's means of evaluating the expressions of its log. */
typedef struct AttachScan AttachScan;

extern AttachScan *attach_scan_begin(PmLog *log, Relation rel);
extern void attach_scan_end(AttachScan *scan);
/*
 * Makes an event of the row in the slot.  *passed is false if the row is not an event of
 * the log; then only its position is set.  If an expression fails, returns the message, in
 * the current memory context; else NULL.
 */
extern char *attach_scan_event(AttachScan *scan, TupleTableSlot *slot, EventFields *event,
							   bool *passed);

#endif /* PM_ATTACH_READ_H */
