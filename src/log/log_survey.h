/*
 * log_survey.h
 *		Finds many logs that have no problem, in one pass over the system catalogs.
 */
#ifndef PM_LOG_SURVEY_H
#define PM_LOG_SURVEY_H

#include "nodes/pg_list.h"

#include "log/log.h"

/* A log without a problem, and the file of its sequence. */
typedef struct LogSurvey
{
	PmLog *log;
	Oid tablespace; /* InvalidOid: that of the database */
	Oid file;
} LogSurvey;

/*
 * Those of these logs (rows of the catalog, LogRow) that have no problem, as a list of
 * LogSurvey.  Empty if it costs less to build each of them.
 */
extern List *log_survey(List *rows);

#endif /* PM_LOG_SURVEY_H */
