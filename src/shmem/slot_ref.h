/*
 * slot_ref.h
 *		A log's slot in shared memory, as a backend remembers it.
 */
#ifndef PM_SLOT_REF_H
#define PM_SLOT_REF_H

typedef struct LogSlot LogSlot;

/*
 * A slot can be taken from its log at any time.  Then its incarnation changes,
 * and slot_log_valid() returns false.
 */
typedef struct LogRef
{
	LogSlot *slot; /* NULL: the log has none, as far as is known */
	uint64 incarnation;
} LogRef;

#endif /* PM_SLOT_REF_H */
