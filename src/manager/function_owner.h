/*
 * function_owner.h
 *		The owners that the functions of a process manager had when they were
 *		accepted.
 */
#ifndef PM_FUNCTION_OWNER_H
#define PM_FUNCTION_OWNER_H

/* Records their owners of this moment. */
extern void function_owner_record(const char *manager);

/* Forgets it: a superuser's process manager then calls neither until they are recorded again. */
extern void function_owner_forget(const char *manager);

#endif /* PM_FUNCTION_OWNER_H */
