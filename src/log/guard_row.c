/*
 * guard_row.c
 *		The guard of the partitions of a log.
 *
 * A statement that writes a partitioned log fires the trigger of the log's table, which takes
 * the floor (guard.c), and PostgreSQL then writes the rows to partitions.  A check constraint,
 * which an ordinary log has, cannot be used here: pg_dump restores those of partitions before
 * the data.  So a trigger checks each row.  PostgreSQL gives it to every partition, also to
 * those that are made later, and fires it however a row gets into the partition.
 *
 * - A statement that names a partition does not lock the log's table, and fires no trigger
 *	 there.  It is refused, unless the transaction has taken a floor before.  Then it holds the
 *	 lock, and the position is checked like any other.
 * - A trigger that fires later could change the position.  So writing is refused while there is
 *	 such a trigger.
 * - A unique index on (stream, version) over all partitions is not possible.  pm.append finds
 *	 the version under a lock of the stream (stream_version.c), and says here which one it writes.
 *	 No other INSERT may give a version, and no UPDATE may change one, or the stream.
 */
#include "pm.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "parser/parse_relation.h"
#include "storage/proc.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/relcache.h"
#include "log/guard.h"
#include "log/guard_ddl.h"
#include "log/guard_row.h"
#include "log/log.h"
#include "log/log_catalog.h"
#include "log/partition.h"

typedef struct GuardLeaf
{
	Oid relid; /* hash key */
	bool valid;
	Oid root;
	AttrNumber position;
	AttrNumber stream;
	AttrNumber version;
} GuardLeaf;

static HTAB *leaves = NULL;

/* See guard_row_expect(). */
static Oid expected_root = InvalidOid;
static int64 expected_version = 0;
static LocalTransactionId expected_lxid;
static SubTransactionId expected_subid;

PG_FUNCTION_INFO_V1(pm_guard_before_row);

static void
guard_row_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	GuardLeaf *leaf;

	if (hash_get_num_entries(leaves) == 0)
		return;
	if (OidIsValid(relid))
	{
		leaf = hash_search(leaves, &relid, HASH_FIND, NULL);
		if (leaf != NULL)
			leaf->valid = false;
	}
	hash_seq_init(&scan, leaves);
	while ((leaf = hash_seq_search(&scan)) != NULL)
		if (relid == InvalidOid || relid == leaf->root)
			leaf->valid = false;
}

void
guard_row_install(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(GuardLeaf);
	leaves = hash_create("pm guarded partitions", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	relcache_watch(guard_row_relcache_callback);
}

void
guard_row_expect(Oid root, int64 version)
{
	expected_root = root;
	expected_version = version;
	/* After an error it must not be expected in another subtransaction. */
	expected_lxid = compat_proc_lxid(MyProc);
	expected_subid = GetCurrentSubTransactionId();
}

void
guard_row_expect_none(void)
{
	expected_root = InvalidOid;
}

/* ---------- what is known of a leaf ---------- */

COMPAT_NORETURN static void
guard_row_refuse_stray(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not a partition of an event log",
					RelationGetRelationName(rel)),
			 errhint("Make a log of its parent with pm.create_log, or drop the trigger \"%s\".",
					 GUARD_ROW_TRIGGER)));
}

static void
guard_row_refuse_later(Relation rel, const char *later)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("trigger \"%s\" of table \"%s\" would fire after the one that checks positions",
					later, RelationGetRelationName(rel)),
			 errdetail("Triggers fire in the order of their names, and it could change the "
					   "position."),
			 errhint("Give it a name that comes before \"%s\".", GUARD_ROW_TRIGGER)));
}

/*
 * Looks up the log of a leaf, and the columns.
 */
static void
guard_row_resolve(GuardLeaf *leaf, Relation rel)
{
	const char *later;
	char *name;
	LogRow row;

	(void) guard_missing_in_leaf(rel, &later);
	if (later != NULL)
		guard_row_refuse_later(rel, later);
	leaf->root = partition_root(leaf->relid);
	name = OidIsValid(leaf->root) ? log_catalog_name(leaf->root) : NULL;
	if (name == NULL || !log_catalog_row(name, &row))
		guard_row_refuse_stray(rel);
	leaf->position = attnameAttNum(rel, row.columns[EVENT_POSITION], false);
	leaf->stream = attnameAttNum(rel, row.columns[EVENT_STREAM], false);
	leaf->version = attnameAttNum(rel, row.columns[EVENT_VERSION], false);
	if (leaf->position == InvalidAttrNumber || leaf->stream == InvalidAttrNumber ||
		leaf->version == InvalidAttrNumber)
		guard_row_refuse_stray(rel);
	leaf->valid = true;
}

static GuardLeaf *
guard_row_leaf(Relation rel)
{
	Oid relid = RelationGetRelid(rel);
	bool found;
	GuardLeaf *leaf = hash_search(leaves, &relid, HASH_ENTER, &found);

	if (!found)
	{
		leaf->valid = false;
		leaf->root = InvalidOid;
	}
	/* An invalidation that arrives meanwhile sets it to false again. */
	while (!leaf->valid)
	{
		guard_row_resolve(leaf, rel);
		AcceptInvalidationMessages();
	}
	return leaf;
}

/* ---------- the trigger ---------- */

static const char *
guard_row_log(Oid root)
{
	char *name = get_rel_name(root);

	return name == NULL ? "?" : name;
}

/*
 * Was it refused because the statement names the partition, or because the trigger of the log's
 * table is off?
 */
COMPAT_NORETURN static void
guard_row_refuse_direct(Relation rel, Oid root)
{
	Relation parent = RelationIdGetRelation(root);
	bool guarded = parent != NULL && guard_missing(parent) == NULL;
	const char *table = guard_qualified_name(root);

	if (parent != NULL)
		RelationClose(parent);
	if (!guarded)
		guard_refuse_untriggered(root);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("cannot insert into partition \"%s\" of log \"%s\" directly",
						   RelationGetRelationName(rel), guard_row_log(root)),
					errdetail("Readers of the log would not know of the transaction."),
					errhint("Insert into %s.", table)));
}

/*
 * A version is given by pm.append alone, once.
 */
static void
guard_row_check_version(GuardLeaf *leaf, int64 version)
{
	bool expected = expected_root == leaf->root && expected_version == version &&
					expected_lxid == compat_proc_lxid(MyProc) &&
					expected_subid == GetCurrentSubTransactionId();

	expected_root = InvalidOid;
	if (!expected)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("cannot give an event a version in partitioned log \"%s\"",
						guard_row_log(leaf->root)),
				 errdetail("No index over all partitions keeps versions unique."),
				 errhint("Leave the version out of the INSERT or COPY, or call pm.append.")));
}

static bool
guard_row_same(HeapTuple old, HeapTuple new, AttrNumber attnum, TupleDesc desc)
{
	Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);
	bool old_null;
	bool new_null;
	Datum before = heap_getattr(old, attnum, desc, &old_null);
	Datum after = heap_getattr(new, attnum, desc, &new_null);

	if (old_null || new_null)
		return old_null == new_null;
	return datum_image_eq(before, after, att->attbyval, att->attlen);
}

static void
guard_row_check_update(GuardLeaf *leaf, TriggerData *data)
{
	TupleDesc desc = RelationGetDescr(data->tg_relation);
	const AttrNumber columns[] = {leaf->position, leaf->stream, leaf->version};
	static const char *const names[] = {"position", "stream", "version"};

	for (int i = 0; i < lengthof(columns); i++)
		if (!guard_row_same(data->tg_trigtuple, data->tg_newtuple, columns[i], desc))
			ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
							errmsg("cannot change the %s of an event in partitioned log \"%s\"",
								   names[i], guard_row_log(leaf->root)),
							errhint("Append a new event instead.")));
}

/*
 * BEFORE INSERT OR UPDATE FOR EACH ROW, on a partitioned log.
 */
Datum
pm_guard_before_row(PG_FUNCTION_ARGS)
{
	TriggerData *data;
	TupleDesc desc;
	GuardLeaf *leaf;
	bool isnull;
	int64 position;
	Datum version;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by trigger manager")));
	data = (TriggerData *) fcinfo->context;
	if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(data->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" must fire before the insert or update of a row",
							   data->tg_trigger->tgname)));
	leaf = guard_row_leaf(data->tg_relation);
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		guard_row_check_update(leaf, data);
		PG_RETURN_POINTER(data->tg_newtuple);
	}

	desc = RelationGetDescr(data->tg_relation);
	position = DatumGetInt64(heap_getattr(data->tg_trigtuple, leaf->position, desc, &isnull));
	/* The column's own constraint refuses NULL. */
	if (!isnull && !guard_check_row(leaf->root, position))
		guard_row_refuse_direct(data->tg_relation, leaf->root);
	version = heap_getattr(data->tg_trigtuple, leaf->version, desc, &isnull);
	if (!isnull)
		guard_row_check_version(leaf, DatumGetInt64(version));
	PG_RETURN_POINTER(data->tg_trigtuple);
}
