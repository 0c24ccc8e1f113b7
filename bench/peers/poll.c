/*
 * poll.c
 *		A client as an application would have it.  It reads 1000 events in the
 *		order of the positions, executes a prepared INSERT for each of them, moves
 *		its cursor and commits.  If there was no event, it waits for 10 ms.
 *
 * It connects by PGHOST, PGUSER and PGDATABASE, and runs until it is killed.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static PGconn *conn;

static PGresult *
check(PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "%s", PQresultErrorMessage(result));
		exit(1);
	}
	return result;
}

static void
prepare(const char *name, const char *sql)
{
	PQclear(check(PQprepare(conn, name, sql, 0, NULL)));
}

static PGresult *
execute(const char *name, int nparams, const char *const *values)
{
	return check(PQexecPrepared(conn, name, nparams, values, NULL, NULL, 0));
}

int
main(void)
{
	char at[32];
	PGresult *cursor;

	conn = PQconnectdb("application_name=peer");
	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	prepare("begin", "BEGIN");
	prepare("commit", "COMMIT");
	prepare("read", "SELECT position, data ->> 'sent_at' FROM bench.sent WHERE position > $1 "
					"ORDER BY position LIMIT 1000");
	prepare("effect", "INSERT INTO bench.seen (position, sent_at) VALUES ($1, $2)");
	prepare("move", "UPDATE bench.cursor SET position = $1 WHERE name = 'poll'");
	cursor = check(PQexec(conn, "SELECT position FROM bench.cursor WHERE name = 'poll'"));
	strncpy(at, PQgetvalue(cursor, 0, 0), sizeof(at) - 1);
	at[sizeof(at) - 1] = '\0';
	PQclear(cursor);

	for (;;)
	{
		const char *from[1] = {at};
		PGresult *events;
		int n;

		PQclear(execute("begin", 0, NULL));
		events = execute("read", 1, from);
		n = PQntuples(events);
		for (int i = 0; i < n; i++)
		{
			const char *effect[2] = {PQgetvalue(events, i, 0),
									 PQgetisnull(events, i, 1) ? NULL : PQgetvalue(events, i, 1)};

			PQclear(execute("effect", 2, effect));
		}
		if (n > 0)
		{
			strncpy(at, PQgetvalue(events, n - 1, 0), sizeof(at) - 1);
			PQclear(execute("move", 1, from));
		}
		PQclear(execute("commit", 0, NULL));
		PQclear(events);
		if (n == 0)
			usleep(10000);
	}
}
