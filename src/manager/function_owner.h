/*
 * function_owner.h
 *		Records the owners that the functions of a process manager had when they were accepted.
 */
#ifndef PM_FUNCTION_OWNER_H
#define PM_FUNCTION_OWNER_H

/* Records their present owners. */
extern void function_owner_record(const char *manager);

/*
 * Removes the record: until there is a new one, a superuser's process manager calls
 * neither function.
 */
extern void function_owner_forget(const char *manager);

#endif /* PM_FUNCTION_OWNER_H */
