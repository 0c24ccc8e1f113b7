/*
 * unattended.h
 *		Warns if no worker will run the process managers of this database.
 */
#ifndef PM_UNATTENDED_H
#define PM_UNATTENDED_H

/* Warns that no worker will run a process manager, if that is so. */
extern void unattended_warn(const char *manager);

#endif /* PM_UNATTENDED_H */
