/*
 * attached.c
 *		What an attached log has in addition to a PmLog.
 *
 * attach_build.c fills it.
 */
#include "pm.h"

#include "utils/rel.h"

#include "log/attached.h"

static void
attached_require_columns(PmLog *log, TupleDesc desc, const AttachColumns *columns)
{
	for (int i = 0; i < columns->count; i++)
	{
		AttachColumn *column = &columns->columns[i];

		if (column->attnum > desc->natts || TupleDescAttr(desc, column->attnum - 1)->attisdropped ||
			TupleDescAttr(desc, column->attnum - 1)->attgenerated == COMPAT_GENERATED_VIRTUAL ||
			TupleDescAttr(desc, column->attnum - 1)->atttypid != column->type)
			log_refuse_types(log);
	}
}

void
attached_require_types(PmLog *log, Relation rel)
{
	if (log->attached == NULL)
		log_require_whole(log);
	attached_require_columns(log, RelationGetDescr(rel), &log->attached->plain);
	attached_require_columns(log, RelationGetDescr(rel), &log->attached->by_exprs);
	attached_require_columns(log, RelationGetDescr(rel), &log->attached->by_filter);
}
