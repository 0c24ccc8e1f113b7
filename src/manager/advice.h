/*
 * advice.h
 *		Advice on a handler that fails because of its surroundings: where its
 *		session looks for names, and which rights are missing.
 */
#ifndef PM_ADVICE_H
#define PM_ADVICE_H

/*
 * What may help against an error of a process manager's handler, as sentences;
 * NULL if nothing is known.  "called": the handler or the correlate function was
 * running.
 */
extern char *advice_for(const char *handler, const char *correlate, Oid owner, int sqlerrcode,
						bool called);
/* Warns if the handler may find in this session what it will not find in a worker. */
extern void advice_warn_path(const char *name, const char *handler, const char *correlate,
							 Oid owner);
/* Refuses a schema that the current user may not use, and says what helps. */
extern void advice_require_usage(Oid schema);
/* The function of a qualified signature, without any right; InvalidOid if there is none. */
extern Oid advice_function(const char *signature);

#endif /* PM_ADVICE_H */
