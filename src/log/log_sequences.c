/*
 * log_sequences.c
 *		Looks up the sequences of many logs at once.
 */
#include "pm.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/exec.h"
#include "base/relation_change.h"
#include "log/log_sequences.h"
#include "log/sequence.h"

static void *
log_sequences_form(uint64 row)
{
	LogSequence *sequence = palloc(sizeof(LogSequence));
	bool isnull;
	Datum seqid;

	sequence->name = exec_text(row, 1);
	sequence->relid = DatumGetObjectId(exec_value(row, 2, &isnull));
	seqid = exec_value(row, 3, &isnull);
	sequence->seqid = isnull ? InvalidOid : DatumGetObjectId(seqid);
	sequence->file = DatumGetObjectId(exec_value(row, 4, &isnull));
	if (isnull)
		sequence->file = InvalidOid;
	sequence->tablespace = DatumGetObjectId(exec_value(row, 5, &isnull));
	return sequence;
}

/*
 * Remembers the files, so that thousands of sequences can be read without being opened.
 * It does not do so for what this transaction itself has changed, because a savepoint may
 * undo that.
 */
static void
log_sequences_remember(List *sequences, uint64 point)
{
	ListCell *lc;

	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	foreach(lc, sequences)
	{
		LogSequence *sequence = lfirst(lc);

		if (OidIsValid(sequence->file) && !relation_change_since(point, sequence->seqid))
			sequence_remember(sequence->seqid, sequence->tablespace, sequence->file);
	}
}

/*
 * The sequence is found as sequence_of_log() finds it.
 */
List *
log_sequences(List *names)
{
	static ExecStatement sequences =
		{NULL,
		 "SELECT l.name, l.source::pg_catalog.oid, s.oid, s.file, s.reltablespace "
		 "FROM pm_catalog.log l LEFT JOIN LATERAL ("
		 "SELECT c.oid, c.reltablespace, "
		 "CASE c.relpersistence WHEN 'p' THEN c.relfilenode END AS file "
		 "FROM pg_catalog.pg_attribute a, pg_catalog.pg_depend d, pg_catalog.pg_class c "
		 "WHERE a.attrelid OPERATOR(pg_catalog.=) l.source::pg_catalog.oid "
		 "AND a.attname OPERATOR(pg_catalog.=) l.pos::pg_catalog.name "
		 "AND a.attidentity OPERATOR(pg_catalog.=) 'a' AND NOT a.attisdropped "
		 "AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
		 "AND d.refobjid OPERATOR(pg_catalog.=) a.attrelid "
		 "AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum "
		 "AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
		 "AND d.deptype OPERATOR(pg_catalog.=) 'i' "
		 "AND c.oid OPERATOR(pg_catalog.=) d.objid "
		 "ORDER BY a.attnum LIMIT 1) s ON true "
		 "WHERE l.name OPERATOR(pg_catalog.=) ANY ($1)",
		 1,
		 {TEXTARRAYOID}};
	Datum *elements = palloc(sizeof(Datum) * Max(list_length(names), 1));
	Datum values[1];
	uint64 point;
	List *result;
	ListCell *lc;

	foreach(lc, names)
		elements[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	values[0] = PointerGetDatum(
		construct_array(elements, list_length(names), TEXTOID, -1, false, TYPALIGN_INT));
	point = relation_change_point();
	result = exec_list(&sequences, values, NULL, log_sequences_form);
	log_sequences_remember(result, point);
	return result;
}
