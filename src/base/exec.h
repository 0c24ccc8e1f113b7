/*
 * exec.h
 *		SPI with every code checked, and the one place that changes the role.
 */
#ifndef PM_EXEC_H
#define PM_EXEC_H

#include "executor/spi.h"

#include "base/pinned.h"

/* Where exec_begin_* came from, for exec_end(). */
typedef struct ExecScope
{
	Oid user;
	int sec_context;
	int guc_level;
	bool snapshot; /* of its own, where the caller had none */
} ExecScope;

#define EXEC_MAX_ARGS 20

/* A fixed statement: planned once a backend. */
typedef struct ExecStatement
{
	PinnedPlan *plan; /* NULL until then */
	const char *sql;
	int nargs;
	Oid argtypes[EXEC_MAX_ARGS];
} ExecStatement;

extern Oid exec_catalog_relid(const char *relname);
extern Oid exec_require_relid(const char *relname);
extern Oid exec_extension_owner(void);
extern void exec_require_writable(const char *function);

extern void exec_begin_owner(ExecScope *scope);
extern void exec_begin_caller(ExecScope *scope);
extern void exec_begin_writer(ExecScope *scope);
extern void exec_end(ExecScope *scope);

extern SPIPlanPtr exec_prepare(const char *sql, int nargs, Oid *argtypes);
extern SPIPlanPtr exec_prepare_generic(const char *sql, int nargs, Oid *argtypes);
extern uint64 exec_plan(SPIPlanPtr plan, Datum *values, const char *nulls, long limit);
extern uint64 exec_statement(ExecStatement *statement, Datum *values, const char *nulls);
extern uint64 exec_as_owner(ExecStatement *statement, Datum *values, const char *nulls);
extern List *exec_list(ExecStatement *statement, Datum *values, const char *nulls,
					   void *(*form)(uint64 row));
extern void exec_command(const char *sql);

extern Datum exec_value(uint64 row, int column, bool *isnull);
extern char *exec_text(uint64 row, int column);
extern Datum exec_text_arg(const char *text, char *null);
extern void exec_unit_args(Datum *values, const char *manager, int lane);
extern void exec_error_args(ErrorData *error, Datum *values, char *nulls);

#endif /* PM_EXEC_H */
