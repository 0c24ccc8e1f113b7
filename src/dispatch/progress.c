/*
 * progress.c
 *		How far a batch has got, for whoever deals with an error that undid it.
 */
#include "pm.h"

#include "dispatch/progress.h"
#include "shmem/handling.h"

/*
 * Returns the item that is still there after a rollback: the one in hand or,
 * where that is a timer that the batch itself has set, the item that set it.
 */
const Handling *
progress_lasting(const Progress *progress)
{
	return progress->set_here ? &progress->set_by : &progress->handling;
}
