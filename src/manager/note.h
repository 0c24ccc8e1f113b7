/*
 * note.h
 *		Notes, after a promotion, for which item a handler is about to be called.
 */
#ifndef PM_NOTE_H
#define PM_NOTE_H

#include "manager/registry.h"
#include "shmem/handling.h"

typedef struct Note
{
	Handling what;
	bool left;	 /* by an earlier primary, which was lost meanwhile */
	bool shared; /* other items were in hand at the same time */
} Note;

/* The timeline on which this server writes; 0 while it is in recovery. */
extern int note_timeline(void);

/* Reads the note of a unit.  False if it has none. */
extern bool note_get(const ProcessManager *pm, int lane, Note *note);

/* Replaces the note of a unit. */
extern void note_set(const ProcessManager *pm, const Handling *what, bool shared);
extern void note_forget(const char *manager, int lane);

/* Removes the notes of all lanes. */
extern void note_void(const char *manager);

/* From now on, all notes of this database and timeline are shared. */
extern void note_share_all(void);

/* Is this the same item? */
extern bool note_is(const Handling *noted, const Handling *what);

#endif /* PM_NOTE_H */
