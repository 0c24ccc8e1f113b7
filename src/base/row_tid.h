/*
 * row_tid.h
 *		Remembers where this backend last saw rows of the private tables.
 */
#ifndef PM_ROW_TID_H
#define PM_ROW_TID_H

#include "storage/itemptr.h"

typedef enum RowTidTable
{
	ROW_TID_CURSOR,
	ROW_TID_LANE,
	ROW_TID_INSTANCE,
	ROW_TID_LEASE,
	ROW_TID_FETCHED
} RowTidTable;

/*
 * The entry for the row with this key.  The caller writes the row's TID there; it is
 * invalid if nothing is known.
 */
extern ItemPointer row_tid_of(RowTidTable table, const char *manager, int lane, const char *name);

#endif /* PM_ROW_TID_H */
