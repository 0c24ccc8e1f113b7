/*
 * guard_ddl.c
 *		Checks, creates and removes the guard's objects on a log's table.
 *
 * guard.c explains what they are for.  The table's owner can drop or change
 * them.  Then nobody can read or write the log until they are restored.
 */
#include "pm.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/exec.h"
#include "base/extension.h"
#include "base/identifier.h"
#include "log/guard_ddl.h"
#include "log/replica_check.h"
#include "log/sequence.h"

/* A trigger of the guard. */
typedef struct GuardTrigger
{
	const char *name;
	const char *events;	  /* as in CREATE TRIGGER */
	const char *function; /* in pm_catalog */
	int16 type;			  /* pg_trigger.tgtype */
	char relkind;		  /* the kind of table that has it; 0: both */
} GuardTrigger;

static const GuardTrigger guard_triggers[] = {
	{GUARD_WRITE_TRIGGER, "INSERT OR UPDATE OR DELETE", "before_write",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE, 0},
	{GUARD_UPDATE_TRIGGER, "UPDATE", "before_update",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE, RELKIND_RELATION},
	{GUARD_ROW_TRIGGER, "INSERT OR UPDATE", "before_row", GUARD_ROW_TYPE,
	 RELKIND_PARTITIONED_TABLE},
	{GUARD_TRUNCATE_TRIGGER, "TRUNCATE", "before_truncate",
	 TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_TRUNCATE, 0},
};

/*
 * Is the trigger one of this table's guard?
 */
static bool
guard_wants(Relation rel, const GuardTrigger *trigger)
{
	return trigger->relkind == 0 || trigger->relkind == rel->rd_rel->relkind;
}

/*
 * Is it the function of that name in pm_catalog?
 */
static bool
guard_is_ours(Oid function, const char *name)
{
	char *found = get_func_name(function);

	return found != NULL && strcmp(found, name) == 0 &&
		   get_func_namespace(function) == extension_schema("pm_catalog");
}

/*
 * Is it this trigger, for every statement, in every session?
 */
static bool
guard_fits(const GuardTrigger *wanted, const char *name, int16 type, char enabled, bool conditional,
		   Oid function)
{
	return strcmp(name, wanted->name) == 0 && type == wanted->type &&
		   enabled == TRIGGER_FIRES_ALWAYS && !conditional &&
		   guard_is_ours(function, wanted->function);
}

static bool
guard_has_trigger(Relation rel, const GuardTrigger *wanted)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger *trigger = &desc->triggers[i];

		if (guard_fits(wanted, trigger->tgname, trigger->tgtype, trigger->tgenabled,
					   trigger->tgqual != NULL || trigger->tgnattr != 0, trigger->tgfoid))
			return true;
	}
	return false;
}

int
guard_trigger_bits(void)
{
	int bits = 0;

	for (int i = 0; i < lengthof(guard_triggers); i++)
		if (guard_triggers[i].relkind == 0 || guard_triggers[i].relkind == RELKIND_RELATION)
			bits |= 1 << i;
	return bits;
}

int
guard_trigger_bit(Form_pg_trigger trigger, bool conditional)
{
	for (int i = 0; i < lengthof(guard_triggers); i++)
		if (guard_fits(&guard_triggers[i], NameStr(trigger->tgname), trigger->tgtype,
					   trigger->tgenabled, conditional || trigger->tgattr.dim1 != 0,
					   trigger->tgfoid))
			return 1 << i;
	return 0;
}

static bool
guard_is_column(Node *node, AttrNumber attnum)
{
	return IsA(node, Var) && ((Var *) node)->varattno == attnum;
}

static bool
guard_has_row_trigger(Relation rel)
{
	for (int i = 0; i < lengthof(guard_triggers); i++)
		if (guard_triggers[i].relkind == RELKIND_PARTITIONED_TABLE)
			return guard_has_trigger(rel, &guard_triggers[i]);
	return false;
}

/*
 * Is it the table?  In a replica log it is a constant, because the worker that applies changes
 * does not set tableoid.
 */
static bool
guard_is_table(Node *node, Oid relid)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, Const))
		return OidIsValid(relid) && ((Const *) node)->consttype == REGCLASSOID &&
			   !((Const *) node)->constisnull &&
			   DatumGetObjectId(((Const *) node)->constvalue) == relid;
	return guard_is_column(node, TableOidAttributeNumber);
}

/*
 * The constraint must be position_is_new(table, position), and nothing else.
 */
bool
guard_is_check(const char *expression, Oid relid, AttrNumber attnum)
{
	FuncExpr *expr = stringToNode(expression);

	return IsA(expr, FuncExpr) && guard_is_ours(expr->funcid, "position_is_new") &&
		   list_length(expr->args) == 2 && guard_is_table(linitial(expr->args), relid) &&
		   guard_is_column(lsecond(expr->args), attnum);
}

bool
guard_has_check(Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	AttrNumber attnum = sequence_column(rel);

	if (attnum == InvalidAttrNumber)
		return false;
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return guard_has_row_trigger(rel);
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		if (strcmp(constr->check[i].ccname, GUARD_CHECK) == 0)
			return guard_is_check(constr->check[i].ccbin, RelationGetRelid(rel), attnum);
	return false;
}

/*
 * Is it a replica log?  Then the check constraint names the table.
 */
static bool
guard_is_of_replica(Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		if (strcmp(constr->check[i].ccname, GUARD_CHECK) == 0)
			return guard_is_check(constr->check[i].ccbin, RelationGetRelid(rel),
								  sequence_column(rel)) &&
				   !guard_is_check(constr->check[i].ccbin, InvalidOid, sequence_column(rel));
	return false;
}

void
guard_require_check(Relation rel)
{
	if (!guard_has_check(rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
					 errmsg("trigger \"%s\" of log \"%s\" is missing or changed", GUARD_ROW_TRIGGER,
							RelationGetRelationName(rel)) :
					 errmsg("check constraint \"%s\" of log \"%s\" is missing or changed",
							GUARD_CHECK, RelationGetRelationName(rel)),
				 errhint("As the table's owner, run SELECT pm.create_log(name) FROM pm.log WHERE "
						 "\"table\" = %s::regclass: it puts back what is missing.",
						 quote_literal_cstr(guard_qualified_name(RelationGetRelid(rel))))));
	if (guard_is_of_replica(rel))
		replica_require_triggers(rel);
}

const char *
guard_missing(Relation rel)
{
	for (int i = 0; i < lengthof(guard_triggers); i++)
		if (guard_wants(rel, &guard_triggers[i]) && !guard_has_trigger(rel, &guard_triggers[i]))
			return guard_triggers[i].name;
	return guard_has_check(rel) ? NULL : GUARD_CHECK;
}

/*
 * A trigger that fires after it could change the position that it has checked.  Triggers of the
 * same kind fire in the order of their names, in which the description of the table has them.
 */
const char *
guard_missing_in_leaf(Relation leaf, const char **later)
{
	TriggerDesc *desc = leaf->trigdesc;
	bool found = false;

	*later = NULL;
	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger *trigger = &desc->triggers[i];

		if (strcmp(trigger->tgname, GUARD_ROW_TRIGGER) == 0)
			found = trigger->tgtype == GUARD_ROW_TYPE &&
					trigger->tgenabled == TRIGGER_FIRES_ALWAYS && trigger->tgqual == NULL &&
					trigger->tgnattr == 0 && guard_is_ours(trigger->tgfoid, "before_row");
		else if (found && *later == NULL && TRIGGER_FOR_ROW(trigger->tgtype) &&
				 TRIGGER_FOR_BEFORE(trigger->tgtype) &&
				 (TRIGGER_FOR_INSERT(trigger->tgtype) || TRIGGER_FOR_UPDATE(trigger->tgtype)))
			*later = trigger->tgname;
	}
	return found ? NULL : GUARD_ROW_TRIGGER;
}

bool
guard_has_any(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
		for (int j = 0; j < lengthof(guard_triggers); j++)
			if (strcmp(desc->triggers[i].tgname, guard_triggers[j].name) == 0 &&
				guard_is_ours(desc->triggers[i].tgfoid, guard_triggers[j].function))
				return true;
	return OidIsValid(get_relation_constraint_oid(RelationGetRelid(rel), GUARD_CHECK, true));
}

/*
 * The commands that change the guard name the table, and its schema can be
 * renamed although the table is locked.  If they have changed another table, the
 * error undoes that.
 */
static void
guard_require_done(Relation rel, bool done)
{
	if (!done)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the guard of log \"%s\" could not be changed",
							   RelationGetRelationName(rel)),
						errhint("If its schema has just been renamed, try again.")));
}

/*
 * Assumes that the caller has locked the table, and has an open scope.  Runs with
 * the caller's rights.
 */
void
guard_take_off(Oid relid)
{
	const char *table = guard_qualified_name(relid);
	char relkind = get_rel_relkind(relid);
	Relation rel;

	for (int i = 0; i < lengthof(guard_triggers); i++)
		if (guard_triggers[i].relkind == 0 || guard_triggers[i].relkind == relkind)
			exec_command(
				psprintf("DROP TRIGGER IF EXISTS %s ON %s", guard_triggers[i].name, table));
	if (relkind == RELKIND_RELATION)
		exec_command(psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", table, GUARD_CHECK));
	CommandCounterIncrement();
	rel = table_open(relid, NoLock);
	guard_require_done(rel, !guard_has_any(rel));
	table_close(rel, NoLock);
}

/*
 * Makes the constraint depend on the extension, as ALTER ... DEPENDS ON
 * EXTENSION would if that existed for constraints.  pg_dump does not dump this
 * dependency, so a restored log needs it again.
 */
void
guard_adopt(Oid relid)
{
	ObjectAddress extension;
	ObjectAddress constraint;
	Oid check = get_relation_constraint_oid(relid, GUARD_CHECK, true);

	if (!OidIsValid(check))
		return;
	ObjectAddressSet(constraint, ConstraintRelationId, check);
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("pm", false));
	if (!list_member_oid(getAutoExtensionsOfObject(ConstraintRelationId, check),
						 extension.objectId))
		recordDependencyOn(&constraint, &extension, DEPENDENCY_AUTO_EXTENSION);
}

/*
 * Runs with the rights of the caller, which must own the table; needs an open
 * scope.  Each object depends on the extension, so that DROP EXTENSION drops it
 * and keeps the table.
 */
void
guard_put_back(Oid relid, AttrNumber attnum, bool replica)
{
	bool present[lengthof(guard_triggers)];
	bool check;
	Relation rel = table_open(relid, ShareRowExclusiveLock);
	const char *table = guard_qualified_name(relid);

	for (int i = 0; i < lengthof(guard_triggers); i++)
		present[i] = !guard_wants(rel, &guard_triggers[i]) ||
					 guard_has_trigger(rel, &guard_triggers[i]);
	check = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || guard_has_check(rel);
	/* ALTER TABLE refuses to change a table that this session has open. */
	table_close(rel, NoLock);

	for (int i = 0; i < lengthof(guard_triggers); i++)
	{
		const GuardTrigger *trigger = &guard_triggers[i];

		if (present[i])
			continue;
		exec_command(psprintf("CREATE OR REPLACE TRIGGER %s BEFORE %s ON %s FOR EACH %s "
							  "EXECUTE FUNCTION pm_catalog.%s()",
							  trigger->name, trigger->events, table,
							  trigger->type & TRIGGER_TYPE_ROW ? "ROW" : "STATEMENT",
							  trigger->function));
		exec_command(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, trigger->name));
		exec_command(
			psprintf("ALTER TRIGGER %s ON %s DEPENDS ON EXTENSION pm", trigger->name, table));
	}
	if (!check)
	{
		if (OidIsValid(get_relation_constraint_oid(relid, GUARD_CHECK, true)))
			exec_command(psprintf("ALTER TABLE %s DROP CONSTRAINT %s", table, GUARD_CHECK));
		exec_command(psprintf("ALTER TABLE %s ADD CONSTRAINT %s "
							  "CHECK (pm_catalog.position_is_new(%s, %s)) NOT VALID",
							  table, GUARD_CHECK,
							  replica ?
								  psprintf("%s::pg_catalog.regclass", quote_literal_cstr(table)) :
								  "tableoid",
							  quote_identifier(get_attname(relid, attnum, false))));
	}
	CommandCounterIncrement();
	rel = table_open(relid, NoLock);
	guard_require_done(rel, guard_missing(rel) == NULL);
	table_close(rel, NoLock);
	guard_adopt(relid);
}

/* ---------- for messages ---------- */

const char *
guard_qualified_name(Oid relid)
{
	const char *name = identifier_of_relation(relid);

	return name == NULL ? "?" : name;
}

/*
 * A sequence that has a cache, or that counts down, draws such positions by itself.
 */
char *
guard_hint(Oid relid, Oid seqid, AttrNumber attnum, int64 used, bool set_back)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(seqid));
	const char *table = guard_qualified_name(relid);
	const char *column = get_attname(relid, attnum, true);
	int64 cache = 1;
	int64 increment = 1;

	column = column == NULL ? "?" : quote_identifier(column);
	if (HeapTupleIsValid(tuple))
	{
		cache = ((Form_pg_sequence) GETSTRUCT(tuple))->seqcache;
		increment = ((Form_pg_sequence) GETSTRUCT(tuple))->seqincrement;
		ReleaseSysCache(tuple);
	}
	if (cache > 1 || increment <= 0)
		return psprintf(
			"The sequence has CACHE %lld, INCREMENT %lld. As the table's owner, run ALTER TABLE %s "
			"ALTER COLUMN %s SET CACHE 1 SET INCREMENT 1 SET NO CYCLE; "
			"SELECT pm.create_log(name) FROM pm.log WHERE \"table\" = %s::regclass.",
			(long long) cache, (long long) increment, table, column, quote_literal_cstr(table));
	/*
	 * The position was drawn as it should be, but readers have seen a higher value of
	 * the sequence.
	 */
	if (set_back)
		return psprintf(
			"The sequence was set back. As the table's owner, run SELECT pg_catalog.setval(%s, "
			"greatest(%lld, (SELECT pg_catalog.max(%s) FROM %s))).",
			quote_literal_cstr(guard_qualified_name(seqid)), (long long) used, column, table);
	return pstrdup("Leave the position out of the INSERT or COPY.");
}

/*
 * Raises the error for a row for which the trigger of this table did not fire.
 */
void
guard_refuse_untriggered(Oid relid)
{
	const char *table = guard_qualified_name(relid);
	char *name = get_rel_name(relid);
	bool has_trigger = OidIsValid(get_trigger_oid(relid, GUARD_WRITE_TRIGGER, true));
	Relation rel = RelationIdGetRelation(relid);

	/* The worker of a subscription does not need that trigger, but it needs others. */
	if (rel != NULL && guard_is_of_replica(rel))
		replica_require_triggers(rel);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot write into log \"%s\" without its trigger \"%s\"", name ? name : "?",
					GUARD_WRITE_TRIGGER),
			 errdetail("The trigger is disabled or missing, or the row comes through a partitioned "
					   "table, logical replication or the validation of a constraint."),
			 has_trigger ?
				 errhint("A log takes events by INSERT, COPY and pm.append. If the trigger is off, "
						 "run ALTER TABLE %s ENABLE ALWAYS TRIGGER %s as the table's owner.",
						 table, GUARD_WRITE_TRIGGER) :
				 errhint("As the table's owner, run SELECT pm.create_log(%s): it puts back missing "
						 "parts of a log, and makes any other table a log. If the table is not to "
						 "be a log, run SELECT pm.drop_log(%s).",
						 quote_literal_cstr(table), quote_literal_cstr(table))));
}
