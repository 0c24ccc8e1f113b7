/*
 * done.h
 *		pm.done(): the value that ends an instance.
 */
#ifndef PM_DONE_H
#define PM_DONE_H

/* To be called before each call of an instance's handler. */
extern void done_begin(void);
/* Does what the handler has returned end its instance? */
extern bool done_is(Datum result, const char *handler);

#endif /* PM_DONE_H */
