/*
 * progress.h
 *		How far a batch has come, for the code that deals with an error that undid it.
 */
#ifndef PM_PROGRESS_H
#define PM_PROGRESS_H

#include "shmem/handling.h"

/* What a batch was doing when an error interrupted it. */
typedef enum ProgressStage
{
	PROGRESS_PREPARE, /* no user's code has run: no item is the cause */
	PROGRESS_HANDLE,  /* the handler or correlate ran for the current item */
	PROGRESS_COMMIT	  /* user's code had returned: one of the items so far is the cause */
} ProgressStage;

/*
 * A batch writes it, item by item.  It belongs to the function that calls the
 * one with the PG_TRY block, so that it is valid after an error has unwound the
 * batch.  All zeros to begin with.
 */
typedef struct Progress
{
	ProgressStage stage;
	int count;		   /* of items so far: all but the last have succeeded */
	bool suspected;	   /* the unit's items run one at a time, to find the one that fails */
	Handling handling; /* the current item, or the last one */
	bool set_here;	   /* it is a timer that this batch has set */
	Handling set_by;   /* the item that set the timer */
} Progress;

/* The item that is still there after a rollback. */
extern const Handling *progress_lasting(const Progress *progress);

#endif /* PM_PROGRESS_H */
