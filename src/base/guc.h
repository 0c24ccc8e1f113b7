/*
 * guc.h
 *		The settings.
 */
#ifndef PM_GUC_H
#define PM_GUC_H

extern int guc_max_workers;
extern int guc_max_logs;
extern int guc_max_stats;
extern int guc_poll_interval;	 /* ms */
extern int guc_batch_duration;	 /* ms */
extern int guc_log_min_duration; /* ms; -1: off */
extern int guc_promotion_gap;
extern int guc_promotion_wait; /* ms */
extern bool guc_launcher;

extern void guc_define(void);

#endif /* PM_GUC_H */
