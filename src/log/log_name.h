/*
 * log_name.h
 *		The names of a log: the first one, and those that pm.rename_log has given it.
 */
#ifndef PM_LOG_NAME_H
#define PM_LOG_NAME_H

/* The first name of the log that has been given this name since, or NULL. */
extern char *log_name_first(const char *name);
/* Raises an error if the name is, or was, that of a renamed log; else keeps others from taking it.
 */
extern void log_name_claim(const char *name);
/* The log of this first name has this title from now on.  The caller has claimed it. */
extern void log_name_give(const char *first, const char *title);
/* The log is removed. */
extern void log_name_forget(const char *first);

#endif /* PM_LOG_NAME_H */
