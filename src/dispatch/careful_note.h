/*
 * careful_note.h
 *		For which item a dispatcher has made a note, and is about to call a handler (careful.c).
 */
#ifndef PM_CAREFUL_NOTE_H
#define PM_CAREFUL_NOTE_H

#include "shmem/handling.h"

typedef struct CarefulNote
{
	bool committed; /* "what" is noted */
	Handling what;
} CarefulNote;

#endif /* PM_CAREFUL_NOTE_H */
