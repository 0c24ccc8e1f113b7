/*
 * timer_floor.h
 *		Remembers the lowest id that the timer of a key and a type can have.
 */
#ifndef PM_TIMER_FLOOR_H
#define PM_TIMER_FLOOR_H

extern void timer_floor_install(void);
/* No timer of this key and type has an id below this one. */
extern int64 timer_floor(const char *manager, const char *key, Datum type);
/* To be called when this transaction has set a timer and deleted the one before. */
extern void timer_floor_raise(const char *manager, const char *key, Datum type, int64 id);

#endif /* PM_TIMER_FLOOR_H */
