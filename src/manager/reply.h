/*
 * reply.h
 *		pm.reply: a consumer answers the instance whose handler has appended an event.
 */
#ifndef PM_REPLY_H
#define PM_REPLY_H

#include "manager/registry.h"

/* The names of the logs that process managers without a handler follow. */
extern const List *reply_logs(void);

#endif /* PM_REPLY_H */
