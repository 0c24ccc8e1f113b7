/*
 * done.h
 *		pm.done(): the value that ends an instance.
 */
#ifndef PM_DONE_H
#define PM_DONE_H

/* To be called before each call of an instance's handler. */
extern void done_begin(void);
/*
 * Does what the handler has returned end its instance?  If so, *result is what it has given to
 * pm.done(), in the current memory context.
 */
extern bool done_is(Datum returned, const char *handler, NullableDatum *result);

#endif /* PM_DONE_H */
