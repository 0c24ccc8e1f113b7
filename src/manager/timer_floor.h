/*
 * timer_floor.h
 *		Below which id a key has no timer of a type any more.
 */
#ifndef PM_TIMER_FLOOR_H
#define PM_TIMER_FLOOR_H

extern void timer_floor_install(void);
extern int64 timer_floor(const char *manager, const char *key, Datum type);
extern void timer_floor_raise(const char *manager, const char *key, Datum type, int64 id);

#endif /* PM_TIMER_FLOOR_H */
