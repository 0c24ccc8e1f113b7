/*
 * appends.h
 *		To which logs the handlers of a process manager have appended.
 */
#ifndef PM_APPENDS_H
#define PM_APPENDS_H

extern void appends_install(void);

/* From here on, notes what the handlers of one batch do.  Forgets earlier notes. */
extern void appends_begin(void);

/* A statement inserts into this log.  Does nothing unless it is the handler's. */
extern void appends_note(Oid relid);

/* Keeps what was noted for the process manager, whose registration has this version. */
extern void appends_save(const char *name, int manager, uint64 version);

/* Delete what is kept: of a process manager, or of a log. */
extern void appends_forget_manager(const char *name);
extern void appends_forget_log(const char *name);

#endif /* PM_APPENDS_H */
