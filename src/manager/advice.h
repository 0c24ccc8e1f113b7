/*
 * advice.h
 *		What may be wrong around a handler that fails, and what helps.
 */
#ifndef PM_ADVICE_H
#define PM_ADVICE_H

extern char *advice_for(const char *handler, const char *correlate, Oid owner, int sqlerrcode,
						bool called);
extern void advice_require_usage(Oid schema);
extern Oid advice_function(const char *signature);
extern void advice_warn_path(const char *name, const char *handler, const char *correlate,
							 Oid owner);

#endif /* PM_ADVICE_H */
