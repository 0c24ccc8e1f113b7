/*
 * partition.c
 *		The partitions of a table that is a log.
 *
 * PostgreSQL's description of a partitioned table is read once and kept in the form that
 * readers and writers need: the leaves that are ranges of positions, in their order, and
 * all others.  An invalidation of the table or of any partition makes it stale.
 *
 * A reader must not miss a leaf.  It computes its mark, and then asks for the leaves.
 * Suppose that an event at or below the mark is in a leaf that was attached meanwhile.  The
 * transaction that inserted the event had to lock the leaf.  So it had to wait until the
 * transaction that attached the leaf had released its lock, which happens after it has sent
 * its invalidations.  So the invalidations had been sent before the event was written, and
 * before the mark was computed.  partition_set() processes them before it uses the leaves
 * that it has kept.
 */
#include "pm.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "parser/parse_relation.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "base/relcache.h"
#include "log/partition.h"

typedef struct PartitionEntry
{
	Oid root; /* hash key */
	AttrNumber position;
	bool counts;		   /* partition_count_leaves() was called */
	MemoryContext context; /* of the set; NULL: there is none */
	PartitionSet *set;
	bool valid;
} PartitionEntry;

/* Which root a partition belongs to. */
typedef struct PartitionMember
{
	Oid relid; /* hash key */
	Oid root;
} PartitionMember;

static HTAB *roots = NULL;
static HTAB *members = NULL;
static List *stale_contexts = NIL; /* of sets that may be in use until the transaction ends */
static uint64 invalidations = 0;
static bool any_counts = false;

static void
partition_invalidate(Oid root)
{
	PartitionEntry *entry = hash_search(roots, &root, HASH_FIND, NULL);

	if (entry != NULL)
		entry->valid = false;
}

static void
partition_relcache_callback(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	PartitionEntry *entry;
	PartitionMember *member;

	if (hash_get_num_entries(roots) == 0)
		return;
	invalidations++;
	if (OidIsValid(relid))
	{
		partition_invalidate(relid);
		member = hash_search(members, &relid, HASH_FIND, NULL);
		if (member != NULL)
			partition_invalidate(member->root);
		return;
	}
	hash_seq_init(&scan, roots);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

static void
partition_xact_callback(XactEvent event, void *arg)
{
	ListCell *lc;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	foreach(lc, stale_contexts)
		MemoryContextDelete(lfirst(lc));
	list_free(stale_contexts);
	stale_contexts = NIL;
}

void
partition_install(void)
{
	HASHCTL ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(PartitionEntry);
	roots = hash_create("pm partitioned tables", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	ctl.entrysize = sizeof(PartitionMember);
	members = hash_create("pm partitions", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	relcache_watch(partition_relcache_callback);
	RegisterXactCallback(partition_xact_callback, NULL);
}

/* ---------- building ---------- */

static void
partition_add(PartitionSet *set, Oid relid, int64 from, int64 to)
{
	PartitionLeaf *leaf;

	/* A power of two is full. */
	if (set->count == 0)
		set->leaves = palloc(sizeof(PartitionLeaf));
	else if ((set->count & (set->count - 1)) == 0)
		set->leaves = repalloc(set->leaves, sizeof(PartitionLeaf) * set->count * 2);
	leaf = &set->leaves[set->count++];
	leaf->relid = relid;
	leaf->from = from;
	leaf->to = to;
	leaf->stream_index = InvalidOid;
}

bool
partition_by_position(Relation rel, AttrNumber position)
{
	PartitionKey key = RelationGetPartitionKey(rel);

	return key->strategy == PARTITION_STRATEGY_RANGE && key->partnatts == 1 &&
		   key->partattrs[0] == position && key->parttypid[0] == INT8OID &&
		   key->partopfamily[0] == INTEGER_BTREE_FAM_OID;
}

/*
 * One end of a range: the lowest position that is not below it.
 */
static int64
partition_bound(PartitionBoundInfo bounds, int i)
{
	if (bounds->kind[i][0] == PARTITION_RANGE_DATUM_MINVALUE)
		return PG_INT64_MIN;
	if (bounds->kind[i][0] == PARTITION_RANGE_DATUM_MAXVALUE)
		return PG_INT64_MAX;
	return DatumGetInt64(bounds->datums[i][0]);
}

/*
 * Adds the leaves that are ranges of positions, in their order, and marks them as done.
 */
static void
partition_add_ranges(PartitionSet *set, PartitionDesc desc, bool *done)
{
	PartitionBoundInfo bounds = desc->boundinfo;

	/* The range below a bound has the bound's number.  The one above the last is never used. */
	for (int i = 1; i < bounds->ndatums; i++)
	{
		int number = bounds->indexes[i];
		int64 end;

		if (number < 0 || !desc->is_leaf[number])
			continue;
		end = partition_bound(bounds, i);
		/* The upper end is exclusive, unless it is MAXVALUE. */
		if (bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE)
			end--;
		partition_add(set, desc->oids[number], partition_bound(bounds, i - 1), end);
		done[number] = true;
	}
	set->nranged = set->count;
}

/*
 * Adds the leaves below a partition that is partitioned itself.  They can have any
 * positions, as far as we know.  False if the partition is locked, and "wait" is false.
 */
static bool
partition_add_nested(PartitionSet *set, Oid relid, List **all, bool wait)
{
	Relation rel;
	PartitionDesc desc;
	bool added = true;

	set->nested = true;
	*all = lappend_oid(*all, relid);
	if (wait)
		LockRelationOid(relid, AccessShareLock);
	else if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return true;
	desc = RelationGetPartitionDesc(rel, true);
	for (int i = 0; i < desc->nparts && added; i++)
	{
		if (desc->is_leaf[i])
			partition_add(set, desc->oids[i], PG_INT64_MIN, PG_INT64_MAX);
		else
			added = partition_add_nested(set, desc->oids[i], all, wait);
	}
	relation_close(rel, NoLock);
	return added;
}

/*
 * Reads PostgreSQL's description.  *nested gets the partitions that are not leaves.  NULL if one of
 * them is locked, and "wait" is false.
 */
static PartitionSet *
partition_build(Relation root, AttrNumber position, List **nested, bool wait)
{
	PartitionSet *set = palloc0(sizeof(PartitionSet));
	PartitionDesc desc = RelationGetPartitionDesc(root, true);
	bool *done = palloc0(sizeof(bool) * Max(desc->nparts, 1));

	set->root = RelationGetRelid(root);
	if (desc->nparts > 0 && partition_by_position(root, position))
		partition_add_ranges(set, desc, done);
	for (int i = 0; i < desc->nparts; i++)
	{
		if (done[i])
			continue;
		if (desc->is_leaf[i])
			partition_add(set, desc->oids[i], PG_INT64_MIN, PG_INT64_MAX);
		else if (!partition_add_nested(set, desc->oids[i], nested, wait))
			return NULL;
	}
	return set;
}

static void
partition_note_member(Oid relid, Oid root)
{
	PartitionMember *member = hash_search(members, &relid, HASH_ENTER, NULL);

	member->root = root;
}

/*
 * Takes the set that was kept out of the entry.  A caller further up the stack may still use it.
 */
static void
partition_forget(PartitionEntry *entry)
{
	MemoryContext old;

	entry->valid = false;
	if (entry->context == NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	stale_contexts = lappend(stale_contexts, entry->context);
	MemoryContextSwitchTo(old);
	entry->context = NULL;
	entry->set = NULL;
}

static PartitionEntry *
partition_entry(Oid root)
{
	bool found;
	PartitionEntry *entry = hash_search(roots, &root, HASH_ENTER, &found);

	if (!found)
		memset((char *) entry + sizeof(Oid), 0, sizeof(PartitionEntry) - sizeof(Oid));
	return entry;
}

static const PartitionSet *
partition_find_set(Relation root, AttrNumber position, bool wait)
{
	Oid relid = RelationGetRelid(root);
	PartitionEntry *entry;
	uint64 seen;

	/* The head of this file says why. */
	AcceptInvalidationMessages();
	entry = partition_entry(relid);
	while (!entry->valid || entry->position != position)
	{
		MemoryContext old;
		List *nested = NIL;
		ListCell *lc;

		partition_forget(entry);
		entry->context = AllocSetContextCreate(TopMemoryContext, "pm partitions",
											   ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(entry->context);
		seen = invalidations;
		entry->set = partition_build(root, position, &nested, wait);
		if (entry->set == NULL)
		{
			MemoryContextSwitchTo(old);
			return NULL;
		}
		for (int i = 0; i < entry->set->count; i++)
			partition_note_member(entry->set->leaves[i].relid, relid);
		foreach(lc, nested)
			partition_note_member(lfirst_oid(lc), relid);
		MemoryContextSwitchTo(old);
		entry->position = position;
		/* An invalidation that arrived while it was built may concern it. */
		entry->valid = seen == invalidations;
		CHECK_FOR_INTERRUPTS();
	}
	return entry->set;
}

const PartitionSet *
partition_set(Relation root, AttrNumber position)
{
	return partition_find_set(root, position, true);
}

const PartitionSet *
partition_set_nowait(Relation root, AttrNumber position)
{
	return partition_find_set(root, position, false);
}

void
partition_note_index(const PartitionSet *set, int number, Oid index)
{
	/* The sets that this file hands out are its own. */
	set->leaves[number].stream_index = index;
}

void
partition_count_leaves(Oid root, AttrNumber position)
{
	PartitionEntry *entry = partition_entry(root);

	entry->counts = any_counts = true;
	if (entry->position != position)
		entry->valid = false;
	entry->position = position;
}

bool
partition_leaves_count(Oid root, AttrNumber *position)
{
	PartitionEntry *entry = any_counts ? hash_search(roots, &root, HASH_FIND, NULL) : NULL;

	if (entry == NULL || !entry->counts)
		return false;
	*position = entry->position;
	return true;
}

/* ---------- using ---------- */

int
partition_from(const PartitionSet *set, int64 position)
{
	int low = 0;
	int high = set->nranged;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (set->leaves[middle].to < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int
partition_find(const PartitionSet *set, int64 position)
{
	int number = partition_from(set, position);

	return number < set->nranged && set->leaves[number].from <= position ? number : -1;
}

/*
 * The same, when the leaf is locked.
 */
static Relation
partition_open_locked(const PartitionLeaf *leaf, LOCKMODE mode)
{
	Relation rel = try_relation_open(leaf->relid, NoLock);

	if (rel == NULL)
	{
		UnlockRelationOid(leaf->relid, mode);
		return NULL;
	}
	/* It may have been detached before we had the lock. */
	if (rel->rd_rel->relispartition && rel->rd_rel->relkind == RELKIND_RELATION)
		return rel;
	relation_close(rel, mode);
	return NULL;
}

Relation
partition_open(const PartitionLeaf *leaf, LOCKMODE mode)
{
	LockRelationOid(leaf->relid, mode);
	return partition_open_locked(leaf, mode);
}

Relation
partition_open_nowait(const PartitionLeaf *leaf, LOCKMODE mode, bool *locked)
{
	*locked = !ConditionalLockRelationOid(leaf->relid, mode);
	return *locked ? NULL : partition_open_locked(leaf, mode);
}

/*
 * A partition has the columns of its parent, by name, but in an order of its own.
 */
void
partition_columns(PmLog *log, Relation root, Relation leaf, AttrNumber *attnum)
{
	TupleDesc parent = RelationGetDescr(root);
	TupleDesc desc = RelationGetDescr(leaf);

	for (int i = EVENT_POSITION; i <= EVENT_ATTRIBUTES; i++)
	{
		AttrNumber number = log->attnum[i];
		const char *name;

		attnum[i] = InvalidAttrNumber;
		if (number < 1 || number > parent->natts)
			continue;
		name = NameStr(TupleDescAttr(parent, number - 1)->attname);
		if (number <= desc->natts && !TupleDescAttr(desc, number - 1)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(desc, number - 1)->attname), name) == 0)
			attnum[i] = number;
		else
			attnum[i] = attnameAttNum(leaf, name, false);
	}
}

Oid
partition_root(Oid relid)
{
	List *ancestors;
	Oid root;

	if (!get_rel_relispartition(relid))
		return InvalidOid;
	ancestors = get_partition_ancestors(relid);
	root = ancestors == NIL ? InvalidOid : llast_oid(ancestors);
	list_free(ancestors);
	return root;
}

Oid
partition_known_root(Oid relid)
{
	PartitionMember *member = hash_search(members, &relid, HASH_FIND, NULL);

	return member == NULL ? InvalidOid : member->root;
}
