/*
 * slot_press.h
 *		Makes a dispatcher leave when others wait for its place.
 */
#ifndef PM_SLOT_PRESS_H
#define PM_SLOT_PRESS_H

/*
 * A worker that waits calls this repeatedly.  When no worker has left of its own
 * accord for too long, one is pressed.
 */
extern void slot_press(void);

/*
 * Called when this worker starts a dispatcher.  The handlers of the dispatcher in
 * this slot may run this long, in ms, before it is preferred as the one to give way.
 */
extern void slot_press_allow(int index, int64 ms);

#endif /* PM_SLOT_PRESS_H */
