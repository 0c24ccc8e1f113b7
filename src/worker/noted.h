/*
 * noted.h
 *		For which item this dispatcher has made a note, and is about to call a handler.
 */
#ifndef PM_NOTED_H
#define PM_NOTED_H

#include "dispatch/careful_note.h"
#include "worker/unit.h"

/* Called once in a dispatcher, when it has connected. */
extern void noted_install(void);

/* The note, which a careful batch compares and sets. */
extern CarefulNote *noted_note(void);

/* Called when a batch has committed a note.  False if the call must not be made now. */
extern bool noted_committed(const Unit *unit);

/* Called when a batch has removed the note. */
extern void noted_forgotten(void);

/*
 * Called when a unit has run: removes a note that is still there, and gives up the turn.
 * "more": it has more to do at once.  False if the note is still there; then this must be
 * called again before a unit runs.
 */
extern bool noted_end(bool more);

/* Called by the scheduler: marks the notes of calls that take a long time as shared. */
extern void noted_share(void);

#endif /* PM_NOTED_H */
