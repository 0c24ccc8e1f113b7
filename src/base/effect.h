/*
 * effect.h
 *		What a call of a handler has appended, and which timers it has set.
 */
#ifndef PM_EFFECT_H
#define PM_EFFECT_H

#include "datatype/timestamp.h"

extern void effect_install(void);

/* Begins to note what the handler does, and forgets what was noted before. */
extern void effect_begin(void);
extern void effect_end(void);

/* Called by what handlers call; does nothing unless effects are noted. */
extern void effect_appended(const char *log, int64 position);
extern void effect_timer(Datum type, TimestampTz due);

/*
 * What was noted since effect_begin() and has not been undone since, as two jsonb arrays, in the
 * current memory context: [{"log": ..., "position": ...}, ...] and [{"type": ..., "due": ...},
 * ...].  An array is 0 if it would be empty.
 */
extern void effect_read(Datum *appended, Datum *timers);

#endif /* PM_EFFECT_H */
