/*
 * lane_share.c
 *		Tells which events of a log belong to a lane.
 *
 * An event belongs to the lane whose number is the hash of its key modulo the
 * number of lanes, unless a former lane has handled it before the number of
 * lanes was changed (repartition.c).
 */
#include "pm.h"

#include "base/key.h"
#include "dispatch/lane_share.h"

LaneShare
lane_share(ProcessManager *pm, int lane, const char *log, int64 after)
{
	LaneShare share = {lane, pm->lanes, NIL};
	ListCell *lc;

	foreach(lc, pm->former_lanes)
	{
		FormerLane *former = lfirst(lc);

		if (former->position > after && strcmp(former->log, log) == 0)
			share.former = lappend(share.former, former);
	}
	return share;
}

bool
lane_share_is_all(const LaneShare *share)
{
	return share->lanes == 1 && share->former == NIL;
}

bool
lane_share_has(const LaneShare *share, NullableDatum key, int64 position)
{
	uint32 hash = key.isnull ? key_hash("", 0) : key_hash_text(key.value);
	ListCell *lc;

	if (hash % share->lanes != share->lane)
		return false;
	foreach(lc, share->former)
	{
		FormerLane *former = lfirst(lc);

		if (position <= former->position && hash % former->lanes == former->lane)
			return false;
	}
	return true;
}
