/*
 * within.h
 *		Whose handler runs in this backend, and at what time it lives.
 */
#ifndef PM_WITHIN_H
#define PM_WITHIN_H

#include "datatype/timestamp.h"

extern void within_enter(const char *manager, int lane);
extern void within_event(const char *log, int64 position, Datum event, const char *key);
extern void within_leave(void);
extern bool within_handler(void);
extern void within_refuse(const char *name);
extern const char *within_manager(void);
extern bool within_has_instance(void);
extern const char *within_instance(const char *function, int *lane);
extern bool within_timer(TimestampTz *due);
extern bool within_is_timer(text *type);
extern Datum within_cause(Datum metadata);

extern void within_set_time(TimestampTz as_of);
extern void within_clear_time(void);
extern TimestampTz within_time(void);
extern TimestampTz within_later(int64 ms);

#endif /* PM_WITHIN_H */
