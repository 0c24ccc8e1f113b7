/*
 * progress.c
 *		How far a batch has come, for the code that deals with an error that undid it.
 */
#include "pm.h"

#include "dispatch/progress.h"
#include "shmem/handling.h"

/*
 * A timer that the batch itself has set is gone with the batch.  The item that
 * led to it takes its place.
 */
const Handling *
progress_lasting(const Progress *progress)
{
	return progress->set_here ? &progress->set_by : &progress->handling;
}
