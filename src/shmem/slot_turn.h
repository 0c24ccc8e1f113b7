/*
 * slot_turn.h
 *		Whose turn it is among lanes that run one after another.
 */
#ifndef PM_SLOT_TURN_H
#define PM_SLOT_TURN_H

/* Do the lanes of the process manager with this id take turns, because they have conflicted? */
extern bool slot_turns(int manager);

/* Two of them have conflicted: they take turns for some time. */
extern void slot_turns_met(int manager);

/* This dispatcher takes the turn of the lanes of the process manager with this id, or keeps it. */
extern void slot_turn_take(int manager);

/*
 * Gives the turn to the dispatcher that has waited longest, and wakes it.  False if none
 * waits; then no dispatcher has the turn.
 */
extern bool slot_turn_pass(int manager);

/* Does another dispatcher have the turn?  The answer may be out of date. */
extern bool slot_turn_taken(int manager);

/* This dispatcher waits for the turn. */
extern void slot_turn_await(int manager);

#endif /* PM_SLOT_TURN_H */
