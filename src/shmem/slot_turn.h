/*
 * slot_turn.h
 *		Whose turn it is among lanes that run one after another.
 */
#ifndef PM_SLOT_TURN_H
#define PM_SLOT_TURN_H

#include "datatype/timestamp.h"

/* Do the lanes of the process manager with this id take turns, because they have conflicted? */
extern bool slot_turns(int manager);

/* Until when?  A time in the past: they do not. */
extern TimestampTz slot_turns_until(int manager);

/* Two of them have conflicted: they take turns for some time. */
extern void slot_turns_met(int manager);

/* This dispatcher takes the turn of the lanes of the process manager with this id, or keeps it. */
extern void slot_turn_take(int manager);

/*
 * Gives the turn to the dispatcher that has waited longest, and wakes it, unless another one
 * waits for the lock.  False if none waits; then no dispatcher has the turn.
 */
extern bool slot_turn_pass(int manager);

/* Does another dispatcher have the turn?  The answer may be out of date. */
extern bool slot_turn_taken(int manager);

/* This dispatcher has waited for the turn since then. */
extern void slot_turn_await(int manager, TimestampTz since);

/*
 * This dispatcher waits for the lock of the lanes, until that time at most: the others do not
 * take it meanwhile.
 */
extern void slot_turn_ask(int manager, TimestampTz until);
extern void slot_turn_asked_enough(void);

/* Does another dispatcher wait for the lock? */
extern bool slot_turn_asked(int manager);

#endif /* PM_SLOT_TURN_H */
