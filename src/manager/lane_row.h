/*
 * lane_row.h
 *		Reads and writes the row of a lane without SQL.
 */
#ifndef PM_LANE_ROW_H
#define PM_LANE_ROW_H

#include "base/scan.h"

/* Its columns by number; lane_row.c checks them. */
enum
{
	LANE_MANAGER = 1,
	LANE_LANE,
	LANE_STATE,
	LANE_REASON,
	LANE_HINT,
	LANE_ATTEMPTS,
	LANE_RETRY_AT,
	LANE_ERRORS,
	LANE_IN_A_ROW,
	LANE_CRASHES,
	LANE_LOG,
	LANE_POSITION,
	LANE_MESSAGE,
	LANE_DETAIL,
	LANE_CONTEXT,
	LANE_SQLSTATE,
	LANE_SINCE,
	LANE_CONFLICTS,
	LANE_KEY,
	LANE_ERROR_HINT,
	LANE_TIMELINE,
	LANE_CAREFUL_TO
};
#define LANE_COLUMNS LANE_CAREFUL_TO
/* The last one in PM_OLDEST_SERVED.  Later ones may be absent (scan_begin_table()). */
#define LANE_REQUIRED LANE_CONFLICTS

/* An open row, and what is to be written into it. */
typedef struct LaneRow
{
	const char *manager;
	int lane;
	RowScan scan;
	bool found;
	bool write; /* a new version, even if no column was set */
	bool replace[LANE_COLUMNS];
} LaneRow;

/* Opens the row of a lane; row->found is false if there is none. */
extern void lane_row_open(LaneRow *row, const char *manager, int lane, LOCKMODE lock);

/* Set a column of the row that was found, if one was, and if the table has the column. */
extern void lane_row_set(LaneRow *row, AttrNumber column, Datum value, bool isnull);
extern void lane_row_set_text(LaneRow *row, AttrNumber column, const char *value);
extern void lane_row_add(LaneRow *row, AttrNumber column, int64 count);

/* Writes what was set, and closes the row. */
extern void lane_row_close(LaneRow *row);

#endif /* PM_LANE_ROW_H */
