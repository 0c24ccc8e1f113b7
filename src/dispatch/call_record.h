/*
 * call_record.h
 *		Records what a call of an instance's handler has done, for its journal.
 */
#ifndef PM_CALL_RECORD_H
#define PM_CALL_RECORD_H

#include "dispatch/batch_item.h"
#include "manager/journal.h"

/* What is known of one call. */
typedef struct CallRecord
{
	bool live; /* there was an instance before */
	TimestampTz started_at;
	Datum before;		  /* the state before the call */
	bool ended;			  /* the call has ended the instance */
	NullableDatum result; /* of an instance that has ended */
	Datum appended;		  /* jsonb; 0: nothing */
	Datum timers;
} CallRecord;

/* To be called before the handler is called, when it has returned, and when all is done. */
extern void call_record_begin(Journal *journal, const BatchItem *item, CallRecord *record);
extern void call_record_returned(Journal *journal, CallRecord *record);
extern void call_record_end(Journal *journal, const BatchItem *item, const CallRecord *record);

/* The role that has sent an event; NULL if it was not sent (manager/sent.c). */
extern const char *call_record_sender(const char *log, const EventFields *fields);

#endif /* PM_CALL_RECORD_H */
