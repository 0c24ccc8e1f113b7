/*
 * exec.h
 *		Runs SQL through SPI, checks every result code, and changes the current role.
 */
#ifndef PM_EXEC_H
#define PM_EXEC_H

#include "executor/spi.h"

#include "base/pinned.h"

/* What exec_end() restores. */
typedef struct ExecScope
{
	Oid user;
	int sec_context;
	int guc_level;
	bool snapshot; /* the scope has pushed a snapshot, because the caller had none */
} ExecScope;

#define EXEC_MAX_ARGS 40

/* A fixed statement, which is planned once in each backend. */
typedef struct ExecStatement
{
	PinnedPlan *plan; /* NULL until then */
	const char *sql;
	int nargs;
	Oid argtypes[EXEC_MAX_ARGS];
} ExecStatement;

/* The OID of a private table or index; InvalidOid, or an error, without the extension. */
extern Oid exec_catalog_relid(const char *relname);
extern Oid exec_require_relid(const char *relname);

/* The role as which the owner scope runs. */
extern Oid exec_extension_owner(void);

/*
 * Raises an error in a READ ONLY transaction.  PostgreSQL itself refuses only
 * statements that write; this is for functions that also write in other ways.
 */
extern void exec_require_writable(const char *function);

/*
 * Open a scope; see exec.c for the three.  In the owner scope and the writer scope
 * every name in a statement must be qualified.
 */
extern void exec_begin_owner(ExecScope *scope);
extern void exec_begin_caller(ExecScope *scope);
extern void exec_begin_writer(ExecScope *scope);

/* Ends the scope: frees the results of SPI, and restores the role and the settings. */
extern void exec_end(ExecScope *scope);

/*
 * Prepare a plan that outlives the transaction, in an open scope.  The generic one is
 * planned once for all values of its parameters.
 */
extern SPIPlanPtr exec_prepare(const char *sql, int nargs, Oid *argtypes);
extern SPIPlanPtr exec_prepare_generic(const char *sql, int nargs, Oid *argtypes);

/* Run a plan, or a fixed statement, in an open scope.  Return the number of rows. */
extern uint64 exec_plan(SPIPlanPtr plan, Datum *values, const char *nulls, long limit);
extern uint64 exec_statement(ExecStatement *statement, Datum *values, const char *nulls);

/* Forgets the plan of a fixed statement whose text is about to change. */
extern void exec_forget(ExecStatement *statement);

/* Runs a fixed statement in an owner scope of its own.  Returns the number of rows. */
extern uint64 exec_as_owner(ExecStatement *statement, Datum *values, const char *nulls);

/* The same, but returns what "form" makes of each row, in the caller's memory context. */
extern List *exec_list(ExecStatement *statement, Datum *values, const char *nulls,
					   void *(*form)(uint64 row));

/* Runs a command without parameters, such as DDL, in an open scope. */
extern void exec_command(const char *sql);

/*
 * A value of the last result, and a text value as a C string, or NULL.  Columns count
 * from 1.  The values live as long as the scope.
 */
extern Datum exec_value(uint64 row, int column, bool *isnull);
extern char *exec_text(uint64 row, int column);

/* A text argument of a statement, which may be NULL. */
extern Datum exec_text_arg(const char *text, char *null);

/* Two arguments: the process manager and the lane of a unit. */
extern void exec_unit_args(Datum *values, const char *manager, int lane);

/*
 * Four text arguments: message, detail, context and SQLSTATE of an error, or NULLs if
 * there is none.  Texts that are too long to be kept are cut.
 */
extern void exec_error_args(ErrorData *error, Datum *values, char *nulls);

#endif /* PM_EXEC_H */
