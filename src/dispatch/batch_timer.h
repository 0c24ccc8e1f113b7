/*
 * batch_timer.h
 *		Finds the timers that a batch handles.
 */
#ifndef PM_BATCH_TIMER_H
#define PM_BATCH_TIMER_H

#include "dispatch/batch_item.h"

typedef struct BatchTimers
{
	bool used;					   /* the handler is one that can set timers */
	bool unread;				   /* some timers are due, and none has been read */
	bool more;					   /* there may be more due after those that have been read */
	List *items;				   /* of BatchItem, by due and id */
	int next;					   /* the next of these items */
	int64 first_set;			   /* id of the first timer that this batch has set; 0: none */
	const BatchItem *first_set_by; /* the event that led to it */
} BatchTimers;

/* Begins a batch.  "all_logs" says that every log can be read, so that timers may be read too. */
extern void batch_timer_begin(const BatchTask *task, BatchTimers *timers, bool all_logs);

/* The next timer that is due, or NULL if none is.  Reads more timers when necessary. */
extern BatchItem *batch_timer_next(const BatchTask *task, BatchTimers *timers, Keys *keys);

/* Are there timers left that are due? */
extern bool batch_timer_any(const BatchTimers *timers);

/* Called when the handler, in its call for "by", has set a timer that is due already. */
extern void batch_timer_set(const BatchTask *task, BatchTimers *timers, Keys *keys, int64 id,
							const BatchItem *by);

#endif /* PM_BATCH_TIMER_H */
