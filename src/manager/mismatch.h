/*
 * mismatch.h
 *		Explains why no function of a name can be a handler.
 */
#ifndef PM_MISMATCH_H
#define PM_MISMATCH_H

/*
 * Sentences that say why a function was not taken or, where none was found, the
 * functions of that name; NULL if there is nothing to say.
 */
extern char *mismatch_explain(const char *name, Oid function, Oid role, bool correlate);

#endif /* PM_MISMATCH_H */
