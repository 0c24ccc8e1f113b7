/*
 * mismatch.h
 *		Why no function of a name can be a handler.
 */
#ifndef PM_MISMATCH_H
#define PM_MISMATCH_H

extern char *mismatch_explain(const char *name, Oid function, Oid role, bool correlate);

#endif /* PM_MISMATCH_H */
