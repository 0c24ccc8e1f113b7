/*
 * place.h
 *		Where private rows were when this backend saw them last.
 */
#ifndef PM_PLACE_H
#define PM_PLACE_H

#include "storage/itemptr.h"

typedef enum PlaceTable
{
	PLACE_CURSOR,
	PLACE_LANE,
	PLACE_INSTANCE
} PlaceTable;

extern ItemPointer place_of(PlaceTable table, const char *manager, int lane, const char *name);

#endif							/* PM_PLACE_H */
