/*
 * stat_counts.h
 *		What is counted for a lane of a process manager.
 */
#ifndef PM_STAT_COUNTS_H
#define PM_STAT_COUNTS_H

/* Times are in microseconds. */
typedef struct StatCounts
{
	int64 events; /* handled, timers included */
	int64 calls;  /* of the handler */
	int64 batches;
	int64 total_time; /* of all calls */
	int64 max_time;	  /* of the longest call */
	int64 failures;
	int64 conflicts;
} StatCounts;

/* Adds counts to others. */
static inline void
stat_counts_add(StatCounts *to, const StatCounts *add)
{
	to->events += add->events;
	to->calls += add->calls;
	to->batches += add->batches;
	to->total_time += add->total_time;
	to->max_time = Max(to->max_time, add->max_time);
	to->failures += add->failures;
	to->conflicts += add->conflicts;
}

#endif /* PM_STAT_COUNTS_H */
