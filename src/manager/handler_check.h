/*
 * handler_check.h
 *		Checks whether a function can be a handler, and whether its process manager may call it.
 */
#ifndef PM_HANDLER_CHECK_H
#define PM_HANDLER_CHECK_H

#include "manager/registry.h"

/*
 * What a function is to be used for, and the messages about one that cannot be used in
 * that way.  The messages are formats that take the function's name or signature; that
 * of "result" also takes the type that it returns and the one that is required.
 */
typedef struct HandlerUse
{
	bool correlates; /* it computes the key of an event; otherwise it is the handler */
	const char *hint;
	const char *missing;
	const char *ambiguous;
	const char *dropped;
	const char *procedure;
	const char *aggregate;
	const char *window;
	const char *set;
	const char *result;
} HandlerUse;

extern const HandlerUse handler_use_handler;
extern const HandlerUse handler_use_correlate;

/* The kind of handler that the function's arguments make, or 0. */
extern char handler_kind(Oid function);
/* Do the function's arguments fit the use? */
extern bool handler_fits(Oid function, const HandlerUse *use);
/* Refuses a function that cannot be used in that way, or that the owner may not call. */
extern void handler_check(Oid function, Oid owner, const HandlerUse *use);
/* Does the correlate function return an array of keys? */
extern bool handler_fans_out(Oid correlate);
/* Refuses a correlate function that does not go with this kind of handler. */
extern void handler_check_pair(HandlerKind kind, Oid correlate);
/* Refuses a correlate function whose result may change. */
extern void handler_require_immutable(Oid correlate);
/* Refuses a function that now belongs to a role that is not trusted. */
extern void handler_check_function_owner(ProcessManager *pm, const char *signature,
										 Oid function_owner, Oid registered_owner);

#endif /* PM_HANDLER_CHECK_H */
