/*
 * function_owner.h
 *		Who owned the functions of a process manager when they were accepted.
 */
#ifndef PM_FUNCTION_OWNER_H
#define PM_FUNCTION_OWNER_H

/* Writes down who owns them now. */
extern void function_owner_record(const char *manager);

/* Forgets it: a superuser's process manager then calls neither until it is written down again. */
extern void function_owner_forget(const char *manager);

#endif /* PM_FUNCTION_OWNER_H */
