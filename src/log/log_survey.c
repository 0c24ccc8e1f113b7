/*
 * log_survey.c
 *		Finds many logs that have no problem, in one pass over the system catalogs.
 *
 * To build a log (log_build.c), its table and its sequence are opened.  The first time in a
 * session, PostgreSQL then reads about fifteen rows of the catalogs, each by a scan of an
 * index.  A session that looks at thousands of logs, such as one that reads pm.status, would
 * do little else.  So the catalogs are read here once, as a whole, for all logs.
 *
 * This does not say what is wrong with a log.  A log is found only if everything that
 * log_build.c and log_check.c ask for is as it is in a log that pm.create_log has made.  Any
 * other log is left to them.  So a condition that is checked there must be checked here too.
 *
 * Only what is committed is read, with one snapshot.  The caller keeps a log only if no
 * invalidation of its relations has arrived since (relation_change.c).
 */
#include "pm.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "log/guard_ddl.h"
#include "log/log_build.h"
#include "log/log_survey.h"

/* To build a log costs at least as much as to read this many pages of the catalogs. */
#define SURVEY_PAGES 20

/* The table of a log. */
typedef struct SurveyTable
{
	Oid relid; /* hash key */
	const LogRow *row;
	bool twice; /* there is another log with this table */

	/* pg_class; the name is NULL until its row was found, and if it is not as it must be */
	char *name;
	Oid schema;
	Oid owner;
	/* pg_attribute */
	AttrNumber attnum[EVENT_ATTRIBUTES + 1];
	AttrNumber identity; /* the first column that is GENERATED ALWAYS AS IDENTITY */
	/* pg_depend, pg_class and pg_sequence */
	int sequences; /* of that column */
	Oid seqid;
	Oid tablespace;
	Oid file;	 /* InvalidOid if it is not the accepted one, or the sequence is not permanent */
	bool counts; /* CACHE, INCREMENT and CYCLE are as they must be */
	/* pg_trigger and pg_constraint */
	int triggers; /* bits of guard_trigger_bit() */
	bool check;
	/* pg_index and pg_class */
	bool primary;
} SurveyTable;

/* A sequence or an index that belongs to the table of a log. */
typedef struct SurveyPart
{
	Oid relid; /* hash key */
	SurveyTable *table;
} SurveyPart;

typedef struct Survey
{
	Snapshot snapshot;
	HTAB *tables;
	HTAB *parts;
	/* The relation that was looked up last: the rows of one relation follow each other. */
	Oid last_relid;
	SurveyTable *last_table;
	/* The last expression that was the check of positions, and for which column. */
	char *check;
	AttrNumber check_column;
} Survey;

typedef void (*SurveyTake)(Survey *survey, Relation catalog, HeapTuple tuple);

static SurveyTable *
survey_table(Survey *survey, Oid relid)
{
	if (survey->last_relid != relid)
	{
		survey->last_table = hash_search(survey->tables, &relid, HASH_FIND, NULL);
		survey->last_relid = relid;
	}
	return survey->last_table;
}

static void
survey_add_part(Survey *survey, Oid relid, SurveyTable *table)
{
	SurveyPart *part = hash_search(survey->parts, &relid, HASH_ENTER, NULL);

	part->table = table;
}

/* ---------- rows of the catalogs ---------- */

/*
 * The columns that are attributes of an event, as log_build_column() checks them, and the
 * column of the sequence, as sequence_column() finds it.
 */
static void
survey_take_attribute(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);
	SurveyTable *table;

	if (att->attnum <= 0 || att->attisdropped ||
		(table = survey_table(survey, att->attrelid)) == NULL)
		return;
	if (att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS &&
		(table->identity == InvalidAttrNumber || att->attnum < table->identity))
		table->identity = att->attnum;
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		if (strcmp(NameStr(att->attname), table->row->columns[i]) == 0 &&
			att->atttypid == log_columns[i].type && att->attgenerated != COMPAT_GENERATED_VIRTUAL)
			table->attnum[i] = att->attnum;
}

/*
 * The sequence, as getIdentitySequence() finds it.
 */
static void
survey_take_depend(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
	SurveyTable *table;

	if (depend->deptype != DEPENDENCY_INTERNAL || depend->classid != RelationRelationId ||
		depend->refclassid != RelationRelationId || depend->objsubid != 0 ||
		depend->refobjsubid == 0 || (table = survey_table(survey, depend->refobjid)) == NULL ||
		depend->refobjsubid != table->identity)
		return;
	table->sequences++;
	table->seqid = depend->objid;
	survey_add_part(survey, table->seqid, table);
}

/*
 * The primary key, as log_index_is_primary() accepts it.
 */
static void
survey_take_index(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	SurveyTable *table;

	if (!index->indisprimary || !index->indisvalid || index->indcheckxmin ||
		(table = survey_table(survey, index->indrelid)) == NULL ||
		index->indkey.values[0] != table->attnum[EVENT_POSITION] ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return;
	survey_add_part(survey, index->indexrelid, table);
}

static void
survey_take_table(SurveyTable *table, Form_pg_class class)
{
	/* The triggers and checks are looked up only if the row says that there are some. */
	if (class->relkind != RELKIND_RELATION || class->relispartition || !class->relhastriggers ||
		class->relchecks == 0 || class->relpersistence != RELPERSISTENCE_PERMANENT)
		return;
	table->name = pstrdup(NameStr(class->relname));
	table->schema = class->relnamespace;
	table->owner = class->relowner;
}

/*
 * The tables, their sequences and their primary keys.
 */
static void
survey_take_class(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);
	SurveyTable *table = survey_table(survey, class->oid);
	SurveyPart *part;

	if (table != NULL)
	{
		survey_take_table(table, class);
		return;
	}
	part = hash_search(survey->parts, &class->oid, HASH_FIND, NULL);
	if (part == NULL)
		return;
	table = part->table;
	if (class->relkind == RELKIND_INDEX)
		table->primary |= class->relam == BTREE_AM_OID;
	else if (class->relkind == RELKIND_SEQUENCE && class->oid == table->seqid &&
			 class->relpersistence == RELPERSISTENCE_PERMANENT &&
			 class->relfilenode == table->row->sequence_file)
	{
		table->file = class->relfilenode;
		table->tablespace = class->reltablespace;
	}
}

static void
survey_take_trigger(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	SurveyTable *table = survey_table(survey, trigger->tgrelid);

	if (table != NULL)
		table->triggers |= guard_trigger_bit(trigger, !heap_attisnull(tuple, Anum_pg_trigger_tgqual,
																	  RelationGetDescr(catalog)));
}

/*
 * The expressions of most logs are the same texts, and are not read again.
 */
static void
survey_take_constraint(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	SurveyTable *table;
	Datum value;
	bool isnull;
	char *expression;

	if (constraint->contype != CONSTRAINT_CHECK ||
		strcmp(NameStr(constraint->conname), GUARD_CHECK) != 0 ||
		(table = survey_table(survey, constraint->conrelid)) == NULL)
		return;
	value = heap_getattr(tuple, Anum_pg_constraint_conbin, RelationGetDescr(catalog), &isnull);
	if (isnull)
		return;
	expression = TextDatumGetCString(value);
	table->check = (survey->check != NULL && survey->check_column == table->identity &&
					strcmp(survey->check, expression) == 0) ||
				   guard_is_check(expression, InvalidOid, table->identity);
	if (!table->check)
		return;
	survey->check = expression;
	survey->check_column = table->identity;
}

static void
survey_take_sequence(Survey *survey, Relation catalog, HeapTuple tuple)
{
	Form_pg_sequence sequence = (Form_pg_sequence) GETSTRUCT(tuple);
	SurveyPart *part = hash_search(survey->parts, &sequence->seqrelid, HASH_FIND, NULL);

	if (part != NULL && part->table->seqid == sequence->seqrelid)
		part->table->counts = sequence->seqcache == 1 && sequence->seqincrement > 0 &&
							  !sequence->seqcycle;
}

/* In this order, because some need what others have found. */
static const struct
{
	Oid catalog;
	SurveyTake take;
} passes[] = {
	{AttributeRelationId, survey_take_attribute}, {DependRelationId, survey_take_depend},
	{IndexRelationId, survey_take_index},		  {RelationRelationId, survey_take_class},
	{TriggerRelationId, survey_take_trigger},	  {ConstraintRelationId, survey_take_constraint},
	{SequenceRelationId, survey_take_sequence},
};

/* ---------- the survey ---------- */

static void
survey_scan(Survey *survey, Oid catalog, SurveyTake take)
{
	Relation rel = table_open(catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, survey->snapshot, 0, NULL);
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		take(survey, rel, tuple);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * The catalogs also describe all other tables of the database.
 */
static bool
survey_is_worth(int nlogs)
{
	uint64 pages = 0;

	for (int i = 0; i < lengthof(passes); i++)
	{
		Relation rel = table_open(passes[i].catalog, AccessShareLock);

		pages += RelationGetNumberOfBlocks(rel);
		table_close(rel, AccessShareLock);
	}
	return pages <= (uint64) nlogs * SURVEY_PAGES;
}

static HTAB *
survey_hash(const char *name, int nlogs, Size size)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = size;
	ctl.hcxt = CurrentMemoryContext;
	return hash_create(name, nlogs, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
survey_add(Survey *survey, const LogRow *row)
{
	bool found;
	SurveyTable *table;

	/* Other kinds have other conditions, and in a copy of the database the sequence must be read.
	 */
	if (row->kind != LOG_ORDINARY || !row->at_home)
		return;
	table = hash_search(survey->tables, &row->relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(table, 0, sizeof(*table));
		table->relid = row->relid;
		table->row = row;
	}
	table->twice = found;
}

static bool
survey_is_whole(const SurveyTable *table)
{
	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
		if (table->attnum[i] == InvalidAttrNumber)
			return false;
	return !table->twice && table->name != NULL && table->identity != InvalidAttrNumber &&
		   table->sequences == 1 && OidIsValid(table->file) && table->counts &&
		   (table->triggers & guard_trigger_bits()) == guard_trigger_bits() && table->check;
}

/*
 * The same as log_build() makes.
 */
static LogSurvey *
survey_result(const SurveyTable *table, const char *schema)
{
	LogSurvey *result = palloc(sizeof(LogSurvey));
	PmLog *log = log_build_empty(table->row);

	log->seqid = table->seqid;
	log->owner = table->owner;
	log->schema = table->schema;
	log->table = MemoryContextStrdup(log->context, quote_qualified_identifier(schema, table->name));
	log_build_names(log, table->row);
	memcpy(log->attnum, table->attnum, sizeof(log->attnum));
	log->at_home = true;
	log->indexed = table->primary;
	result->log = log;
	result->tablespace = table->tablespace;
	result->file = table->file;
	return result;
}

static List *
survey_results(Survey *survey)
{
	List *results = NIL;
	HASH_SEQ_STATUS scan;
	SurveyTable *table;

	hash_seq_init(&scan, survey->tables);
	while ((table = hash_seq_search(&scan)) != NULL)
	{
		char *schema = survey_is_whole(table) ? get_namespace_name(table->schema) : NULL;

		if (schema != NULL)
			results = lappend(results, survey_result(table, schema));
	}
	return results;
}

List *
log_survey(List *rows)
{
	Survey survey;
	ListCell *lc;

	/* What this transaction itself has changed may be undone by a savepoint. */
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()) || !survey_is_worth(list_length(rows)))
		return NIL;
	memset(&survey, 0, sizeof(survey));
	survey.tables = survey_hash("pm tables of logs", list_length(rows), sizeof(SurveyTable));
	survey.parts = survey_hash("pm parts of logs", 2 * list_length(rows), sizeof(SurveyPart));
	foreach(lc, rows)
		survey_add(&survey, lfirst(lc));

	/* The latest snapshot, whatever the isolation level. */
	(void) GetTransactionSnapshot();
	survey.snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < lengthof(passes); i++)
		survey_scan(&survey, passes[i].catalog, passes[i].take);
	UnregisterSnapshot(survey.snapshot);
	return survey_results(&survey);
}
