/*
 * done.h
 *		pm.done(): the value that ends an instance.
 */
#ifndef PM_DONE_H
#define PM_DONE_H

extern void done_begin(void);
extern bool done_is(Datum result, const char *handler);

#endif /* PM_DONE_H */
