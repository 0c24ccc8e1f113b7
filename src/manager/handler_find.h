/*
 * handler_find.h
 *		Finds the handler and the correlate function of a process manager.
 */
#ifndef PM_HANDLER_FIND_H
#define PM_HANDLER_FIND_H

#include "manager/handler_check.h"
#include "manager/registry.h"

extern void handler_find_install(void);

/* Find a function by the name that pm.register got; return its qualified signature. */
extern char *handler_find(const char *name, Oid owner, HandlerKind *kind, Oid *function_owner);
extern char *handler_find_correlate(const char *name, Oid owner, HandlerKind kind, bool lanes,
									Oid *function_owner);

/* Finds a registered function again, and checks that it may be called. */
extern Oid handler_find_again(ProcessManager *pm, const char *signature, FoundFunction *found,
							  const HandlerUse *use);

/* Refuses a role as the new owner if it may not execute the process manager's functions. */
extern void handler_check_new_owner(ProcessManager *pm, Oid role);

#endif /* PM_HANDLER_FIND_H */
