/*
 * advice.h
 *		Finds hints for a handler that fails because of its environment.
 */
#ifndef PM_ADVICE_H
#define PM_ADVICE_H

/*
 * A hint for an error of a process manager's handler, as sentences; NULL if
 * there is none.  "called" says whether the handler or the correlate function
 * was running.
 */
extern char *advice_for(const char *handler, const char *correlate, Oid owner, int sqlerrcode,
						const char *message, bool called);
/* The search_path that a worker of this role has. */
extern const char *advice_worker_path(Oid owner);

/* Warns if the handler may find in this session what it will not find in a worker. */
extern void advice_warn_path(const char *name, const char *handler, const char *correlate,
							 Oid owner);
/* Raises an error, with a hint, if the current user may not use the schema. */
extern void advice_require_usage(Oid schema);
/*
 * Finds the function of a qualified signature, without checking rights; InvalidOid if
 * there is none.
 */
extern Oid advice_function(const char *signature);

#endif /* PM_ADVICE_H */
