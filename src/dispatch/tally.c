/*
 * tally.c
 *		Counts what a batch has done, and moves the cursors.
 *
 * The items are counted one by one.  The cursors are moved once, at the end, in
 * the transaction in which the handlers ran, so that each event is handled
 * exactly once.
 */
#include "pm.h"

#include "dispatch/tally.h"

void
tally_begin(Tally *tally, const Batch *batch)
{
	memset(tally, 0, sizeof(*tally));
	tally->logs = palloc0(sizeof(TallyLog) * Max(batch->logs.count, 1));
	tally->held = batch->logs.held;
	tally->broken = batch->broken;
	tally->left_out = batch->left_out;
	tally->due = DT_NOEND;
}

void
tally_add(Tally *tally, const BatchItem *item, int handled)
{
	tally->done++;
	tally->handled += handled;
	if (item->log == BATCH_ITEM_NO_LOG)
		return;
	tally->logs[item->log].done++;
	tally->logs[item->log].handled += handled;
	tally->logs[item->log].position = item->position;
}

/*
 * Returns how far a log has been handled: to the last event that was handled,
 * parked or skipped or, if that was the last one for this unit, as far as the
 * log has been read.  "*more" tells whether there is more in the log.
 */
static int64
tally_log_position(const TallyLog *done, BatchLog *b, int taken, bool *more)
{
	if (done->done == taken && batch_log_next(b) == NULL)
	{
		/* Only a mark that this batch has computed tells that this is all. */
		*more = !b->marked || batch_log_read_to(b) < b->mark.mark;
		return batch_log_read_to(b);
	}
	*more = true;
	return done->done > 0 ? done->position : b->cursor->position;
}

int64
tally_reached(const Tally *tally, const Batch *batch, int log, bool *more)
{
	return tally_log_position(&tally->logs[log], &batch->logs.logs[log], batch->taken[log], more);
}

void
tally_advance(Tally *tally, const Batch *batch)
{
	const BatchTask *task = batch->task;

	for (int i = 0; i < batch->logs.count; i++)
	{
		BatchLog *b = &batch->logs.logs[i];
		bool more = true;

		if (!batch_log_left_out(b))
		{
			int64 position = tally_reached(tally, batch, i, &more);

			if (position > b->cursor->position)
				cursor_move(task->pm, task->lane, b->cursor, position, tally->logs[i].handled);
			b->cursor->position = position;
			tally->more |= more;
			/* A transaction that holds a mark back may end without waking us. */
			more |= b->mark.status == HIGHWATER_HELD;
		}
		if (more && b->cursor->which >= 0)
			tally->rest = bms_add_member(tally->rest, b->cursor->which);
	}
}
