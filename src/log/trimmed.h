/*
 * trimmed.h
 *		The last versions of streams that pm.trim has emptied.
 */
#ifndef PM_TRIMMED_H
#define PM_TRIMMED_H

extern bool trimmed_any(void);
extern bool trimmed_find(const char *log, Datum stream, int64 *version);
extern void trimmed_keep(const char *log, Datum *streams, Datum *versions, int count);
extern void trimmed_forget(const char *log);

#endif /* PM_TRIMMED_H */
