/*
 * trimmed.h
 *		Keeps the last versions of streams of which pm.trim has deleted all events.
 */
#ifndef PM_TRIMMED_H
#define PM_TRIMMED_H

/* Has any stream of any log been emptied?  If not, trimmed_find() need not be called. */
extern bool trimmed_any(void);
/* The last version of a stream that has been emptied; false if it has not. */
extern bool trimmed_find(const char *log, Datum stream, int64 *version);
/* Keeps the last versions of streams; each stream is named once. */
extern void trimmed_keep(const char *log, Datum *streams, Datum *versions, int count);
/* Removes what is kept of a log. */
extern void trimmed_forget(const char *log);

#endif /* PM_TRIMMED_H */
