/*
 * attach_trigger.h
 *		The trigger on an attached table that wakes readers.
 */
#ifndef PM_ATTACH_TRIGGER_H
#define PM_ATTACH_TRIGGER_H

/* Makes the trigger, with the rights of the caller, which owns the table. */
extern void attach_trigger_make(Oid relid);
/* Removes it. */
extern void attach_trigger_remove(Oid relid);

#endif /* PM_ATTACH_TRIGGER_H */
