/*
 * shell_type.h
 *		Maintains the shell types by which PostgreSQL knows process managers.
 */
#ifndef PM_SHELL_TYPE_H
#define PM_SHELL_TYPE_H

/* Makes the type of a process manager, or gives it to another role. */
extern void shell_type_record(const char *manager, Oid owner);

/* Drops it, if there is one. */
extern void shell_type_drop(const char *manager);

/* Makes it depend on the table of a log that the process manager follows, or no longer. */
extern void shell_type_depend(const char *manager, Oid relid);
extern void shell_type_release(const char *manager, Oid relid);

/* All that depend on a table depend on another one from now on. */
extern void shell_type_move(Oid from, Oid to);

/* Makes it depend on the tables of all logs that the process manager follows. */
extern void shell_type_depend_all(const char *manager);

#endif /* PM_SHELL_TYPE_H */
