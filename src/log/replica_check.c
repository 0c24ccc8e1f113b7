/*
 * replica_check.c
 *		Checks what the table of a replica log must have besides the guard.
 *
 * The triggers depend on each other.  The one that fires before a statement begins to collect its
 * rows, the one that fires for each row keeps them, and only the one that fires after the statement
 * writes them (replica_copy.c).  Without the last one, rows would be lost.  Without the first
 * one, they would be written in another order than that of the publisher.  The table's owner can
 * disable one, drop it, rename it, or replace it.  So each trigger checks all of them before it
 * does anything.  They cannot be changed later in the statement, because the statement has locked
 * the table, and PostgreSQL uses the triggers that the table had when the statement began.
 */
#include "pm.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/extension.h"
#include "base/identifier.h"
#include "log/replica_check.h"

const ReplicaTrigger replica_triggers[REPLICA_TRIGGERS] = {
	{REPLICA_BEGIN_TRIGGER, "BEFORE INSERT ON %s FOR EACH STATEMENT", "arrival_begin",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT},
	{REPLICA_ROW_TRIGGER, "BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW", "arrival",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE |
		 TRIGGER_TYPE_DELETE},
	{REPLICA_END_TRIGGER, "AFTER INSERT ON %s FOR EACH STATEMENT", "arrival_end",
	 TRIGGER_TYPE_INSERT},
};

/* ---------- the column and its index ---------- */

AttrNumber
replica_column(Relation rel, const char *name, Oid type)
{
	AttrNumber attnum = attnameAttNum(rel, name, false);
	Form_pg_attribute att;

	if (attnum == InvalidAttrNumber)
		return InvalidAttrNumber;
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	return att->atttypid == type && att->attgenerated == '\0' ? attnum : InvalidAttrNumber;
}

AttrNumber
replica_origin_column(Relation rel)
{
	return replica_column(rel, REPLICA_ORIGIN, INT8OID);
}

Oid
replica_origin_index(Relation rel)
{
	AttrNumber origin = replica_origin_column(rel);
	Oid found = InvalidOid;
	ListCell *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisunique && form->indisvalid && form->indimmediate && form->indnkeyatts == 1 &&
			form->indkey.values[0] == origin && origin != InvalidAttrNumber &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			found = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	return found;
}

/* ---------- the triggers ---------- */

bool
replica_is_trigger(const char *name)
{
	for (int i = 0; i < REPLICA_TRIGGERS; i++)
		if (strcmp(name, replica_triggers[i].name) == 0)
			return true;
	return false;
}

static Trigger *
replica_find_trigger(Relation rel, const char *name)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
		if (strcmp(desc->triggers[i].tgname, name) == 0)
			return &desc->triggers[i];
	return NULL;
}

/*
 * Is it this trigger, apart from the sessions in which it fires?
 */
static bool
replica_is_as_made(const Trigger *trigger, const ReplicaTrigger *wanted)
{
	char *function = get_func_name(trigger->tgfoid);

	return trigger->tgtype == wanted->type && trigger->tgqual == NULL && trigger->tgnattr == 0 &&
		   function != NULL && strcmp(function, wanted->function) == 0 &&
		   get_func_namespace(trigger->tgfoid) == extension_schema("pm_catalog");
}

bool
replica_has_trigger(Relation rel, const ReplicaTrigger *wanted)
{
	Trigger *trigger = replica_find_trigger(rel, wanted->name);

	return trigger != NULL && trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
		   replica_is_as_made(trigger, wanted);
}

static const ReplicaTrigger *
replica_first_missing(Relation rel)
{
	for (int i = 0; i < REPLICA_TRIGGERS; i++)
		if (!replica_has_trigger(rel, &replica_triggers[i]))
			return &replica_triggers[i];
	return NULL;
}

const char *
replica_missing_trigger(Relation rel)
{
	const ReplicaTrigger *missing = replica_first_missing(rel);

	return missing == NULL ? NULL : missing->name;
}

const char *
replica_missing(Relation rel)
{
	const char *trigger = replica_missing_trigger(rel);

	if (trigger != NULL)
		return trigger;
	return OidIsValid(replica_origin_index(rel)) ? NULL : "UNIQUE (" REPLICA_ORIGIN ")";
}

void
replica_require_triggers(Relation rel)
{
	const ReplicaTrigger *missing = replica_first_missing(rel);
	const char *table;
	Trigger *trigger;

	if (missing == NULL)
		return;
	table = identifier_of_relation(RelationGetRelid(rel));
	table = table == NULL ? "?" : table;
	trigger = replica_find_trigger(rel, missing->name);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot write into replica log \"%s\" without its trigger \"%s\"",
					RelationGetRelationName(rel), missing->name),
			 errdetail("The trigger is missing or changed, or does not fire in every session."),
			 trigger != NULL && replica_is_as_made(trigger, missing) ?
				 errhint("As the table's owner, run ALTER TABLE %s ENABLE ALWAYS TRIGGER %s.",
						 table, missing->name) :
				 errhint("As the table's owner, run SELECT pm.create_replica_log(name) FROM pm.log "
						 "WHERE \"table\" = %s::regclass: it puts back what is missing.",
						 quote_literal_cstr(table))));
}
