/*
 * compat.h
 *		The differences between PostgreSQL's major versions, with a wrapper for each.
 *
 * No other file tests PG_VERSION_NUM.  Each difference is in the section of the
 * major version that introduced it, or that changed it last.
 */
#ifndef PM_COMPAT_H
#define PM_COMPAT_H

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/twophase.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "nodes/tidbitmap.h"
#include "parser/parse_relation.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "pm needs PostgreSQL 15 or later"
#endif

/* ---------- PostgreSQL 16 ---------- */

/*
 * The library is built with hidden visibility (Makefile), and exports only what
 * the server looks up by name.  From 16 on, PostgreSQL marks these symbols
 * itself.  In 15, PGDLLEXPORT is empty and PG_FUNCTION_INFO_V1 does not use it
 * for the function, so both are defined here as 16 has them.
 */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(funcname)                                                              \
	extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS);                                           \
	extern PGDLLEXPORT const Pg_finfo_record *CppConcat(pg_finfo_, funcname)(void);                \
	const Pg_finfo_record *CppConcat(pg_finfo_, funcname)(void)                                    \
	{                                                                                              \
		static const Pg_finfo_record my_finfo = {1};                                               \
		return &my_finfo;                                                                          \
	}                                                                                              \
	extern int no_such_variable
#endif

/*
 * The field for the subtransaction that gave a relation a new file was renamed.
 * CompatFile: tablespace, database and number of a file.
 * compat_file_is_new(): has this transaction given a new file to a relation that
 * it has not created?
 */
#if PG_VERSION_NUM >= 160000
#define CompatFile RelFileLocator
#define compat_file_is_new(rel)                                                                    \
	((rel)->rd_createSubid == InvalidSubTransactionId &&                                           \
	 (rel)->rd_firstRelfilelocatorSubid != InvalidSubTransactionId)
#else
#define CompatFile RelFileNode
#define compat_file_is_new(rel)                                                                    \
	((rel)->rd_createSubid == InvalidSubTransactionId &&                                           \
	 (rel)->rd_firstRelfilenodeSubid != InvalidSubTransactionId)
#endif

/*
 * The rights that a statement needs on a table moved from the range table entry to a
 * list of its own.
 */
static inline void
compat_ask_for(PlannedStmt *statement, RangeTblEntry *table, AclMode rights)
{
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&statement->permInfos, table)->requiredPerms = rights;
#else
	table->requiredPerms = rights;
#endif
}

/* The file of a relation is called its locator in the WAL record of a sequence. */
#if PG_VERSION_NUM >= 160000
#define compat_sequence_record(record, rel) ((record)->locator = (rel)->rd_locator)
#else
#define compat_sequence_record(record, rel) ((record)->node = (rel)->rd_node)
#endif

/* The setting that makes plans parallel for tests was renamed. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_FORCE_PARALLEL "debug_parallel_query"
#else
#define COMPAT_FORCE_PARALLEL "force_parallel_mode"
#endif

/*
 * The functions that check rights were one for each kind of object; now they take the
 * catalog as an argument.
 */
#if PG_VERSION_NUM >= 160000
#define compat_proc_aclcheck(oid, role, mode) object_aclcheck(ProcedureRelationId, oid, role, mode)
#define compat_namespace_aclcheck(oid, role, mode)                                                 \
	object_aclcheck(NamespaceRelationId, oid, role, mode)
#define compat_database_aclcheck(oid, role, mode)                                                  \
	object_aclcheck(DatabaseRelationId, oid, role, mode)
#define compat_database_ownercheck(oid, role)  object_ownercheck(DatabaseRelationId, oid, role)
#define compat_class_ownercheck(oid, role)	   object_ownercheck(RelationRelationId, oid, role)
#define compat_extension_ownercheck(oid, role) object_ownercheck(ExtensionRelationId, oid, role)
#else
#define compat_proc_aclcheck(oid, role, mode)	   pg_proc_aclcheck(oid, role, mode)
#define compat_namespace_aclcheck(oid, role, mode) pg_namespace_aclcheck(oid, role, mode)
#define compat_database_aclcheck(oid, role, mode)  pg_database_aclcheck(oid, role, mode)
#define compat_database_ownercheck(oid, role)	   pg_database_ownercheck(oid, role)
#define compat_class_ownercheck(oid, role)		   pg_class_ownercheck(oid, role)
#define compat_extension_ownercheck(oid, role)	   pg_extension_ownercheck(oid, role)
#endif

/* Membership no longer implies that a role may SET ROLE to another one. */
#if PG_VERSION_NUM >= 160000
#define compat_check_can_set_role(member, role) check_can_set_role(member, role)
#else
#define compat_check_can_set_role(member, role) check_is_member_of_role(member, role)
#endif

/* Settings are looked up in a hash table.  Returns NULL if there is no setting of this name. */
static inline struct config_generic *
compat_find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, 0);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(settings[i]->name, name) == 0)
			return settings[i];
	return NULL;
#endif
}

/* ---------- PostgreSQL 17 ---------- */

/*
 * A virtual transaction ID names its backend by proc number, not by backend ID.
 * compat_vxid_index() is that number, below COMPAT_VXID_INDEX_MAX, or negative
 * for a prepared transaction that was recovered after a restart.
 */
#if PG_VERSION_NUM >= 170000
#define COMPAT_VXID_INDEX_MAX	MaxBackends
#define compat_vxid_index(vxid) ((int) (vxid).procNumber)
#define compat_vxid_proc(vxid)	ProcNumberGetProc((vxid).procNumber)
#define compat_proc_lxid(proc)	((proc)->vxid.lxid)
#define compat_my_index()		((int) MyProcNumber)
static inline VirtualTransactionId
compat_my_vxid(void)
{
	VirtualTransactionId vxid;

	vxid.procNumber = MyProcNumber;
	vxid.localTransactionId = MyProc->vxid.lxid;
	return vxid;
}
#else
#define COMPAT_VXID_INDEX_MAX	(MaxBackends + 1)
#define compat_vxid_index(vxid) ((int) (vxid).backendId)
#define compat_vxid_proc(vxid)	BackendIdGetProc((vxid).backendId)
#define compat_proc_lxid(proc)	((proc)->lxid)
#define compat_my_index()		((int) MyBackendId)
static inline VirtualTransactionId
compat_my_vxid(void)
{
	VirtualTransactionId vxid;

	vxid.backendId = MyBackendId;
	vxid.localTransactionId = MyProc->lxid;
	return vxid;
}
#endif

/* The sequence of an identity column is looked up with the open table instead of its OID. */
static inline Oid
compat_identity_sequence(Relation rel, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 170000
	return getIdentitySequence(rel, attnum, true);
#else
	return getIdentitySequence(RelationGetRelid(rel), attnum, true);
#endif
}

/* LockHeldByMe() can also count stronger locks; here only the mode itself counts. */
#if PG_VERSION_NUM >= 170000
#define compat_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define compat_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode)
#endif

/*
 * An extension can define wait events with names of their own.  Returns the
 * wait event of a name.  *event keeps it for the next call, and is 0 before the
 * first one.  In older versions all waits of extensions are shown as
 * "Extension".
 */
static inline uint32
compat_wait_event(uint32 *event, const char *name)
{
#if PG_VERSION_NUM >= 170000
	if (*event == 0)
		*event = WaitEventExtensionNew(name);
	return *event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* ---------- PostgreSQL 18 ---------- */

/* A library has a name and a version, which pg_get_loaded_modules() shows. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC(module, release) PG_MODULE_MAGIC_EXT(.name = module, .version = release)
#else
#define COMPAT_MODULE_MAGIC(module, release) PG_MODULE_MAGIC
#endif

/*
 * A function that does not return is marked by pg_noreturn, which must come first in
 * its declaration.
 */
#if PG_VERSION_NUM >= 180000
#define COMPAT_NORETURN pg_noreturn
#else
#define COMPAT_NORETURN pg_attribute_noreturn()
#endif

/*
 * The functions that iterate over a bitmap were replaced.  compat_bitmap_next()
 * returns false at the end.  *count is the number of offsets on the page, or -1
 * if the page is lossy, so that any of its rows may match.
 */
#if PG_VERSION_NUM >= 180000
#define CompatBitmapIterator		TBMPrivateIterator
#define compat_bitmap_begin(bitmap) tbm_begin_private_iterate(bitmap)
#define compat_bitmap_end(iterator) tbm_end_private_iterate(iterator)
static inline bool
compat_bitmap_next(TBMPrivateIterator *iterator, BlockNumber *block, OffsetNumber *offsets,
				   int *count)
{
	TBMIterateResult page;

	if (!tbm_private_iterate(iterator, &page))
		return false;
	*block = page.blockno;
	*count = page.lossy ? -1 : tbm_extract_page_tuple(&page, offsets, MaxHeapTuplesPerPage);
	return true;
}
#else
#define CompatBitmapIterator		TBMIterator
#define compat_bitmap_begin(bitmap) tbm_begin_iterate(bitmap)
#define compat_bitmap_end(iterator) tbm_end_iterate(iterator)
static inline bool
compat_bitmap_next(TBMIterator *iterator, BlockNumber *block, OffsetNumber *offsets, int *count)
{
	TBMIterateResult *page = tbm_iterate(iterator);

	if (page == NULL)
		return false;
	*block = page->blockno;
	*count = page->ntuples;
	if (page->ntuples > 0)
		memcpy(offsets, page->offsets, sizeof(OffsetNumber) * page->ntuples);
	return true;
}
#endif

/* ExecutorRun() lost its argument execute_once. */
#if PG_VERSION_NUM >= 180000
#define compat_executor_run(query) ExecutorRun(query, ForwardScanDirection, 0)
#else
#define compat_executor_run(query) ExecutorRun(query, ForwardScanDirection, 0, true)
#endif

/* A generated column can be virtual: its values are not stored in the table. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_GENERATED_VIRTUAL ATTRIBUTE_GENERATED_VIRTUAL
#else
#define COMPAT_GENERATED_VIRTUAL 'v'
#endif

/*
 * ExecCheckIndexConstraints() takes the TID of a row that is not compared.  It
 * waits for the transactions that may have inserted the same key, and then
 * returns true if the key is free.
 */
#if PG_VERSION_NUM >= 180000
#define compat_check_index_constraints(target, slot, estate, tid, arbiters)                        \
	(ItemPointerSetInvalid(tid),                                                                   \
	 ExecCheckIndexConstraints(target, slot, estate, tid, tid, arbiters))
#else
#define compat_check_index_constraints(target, slot, estate, tid, arbiters)                        \
	ExecCheckIndexConstraints(target, slot, estate, tid, arbiters)
#endif

/* ---------- PostgreSQL 19 ---------- */

/* get_database_name() and the WAL record of a sequence moved to other headers. */
#if PG_VERSION_NUM >= 190000
#include "commands/sequence_xlog.h"
#include "utils/lsyscache.h"
#else
#include "commands/dbcommands.h"
#endif

/*
 * An LWLock tranche is named when it is allocated; in older versions each process
 * registers the name.
 */
#if PG_VERSION_NUM >= 190000
#define compat_new_tranche(name)			   LWLockNewTrancheId(name)
#define compat_register_tranche(tranche, name) ((void) (tranche))
#else
#define compat_new_tranche(name)			   LWLockNewTrancheId()
#define compat_register_tranche(tranche, name) LWLockRegisterTranche(tranche, name)
#endif

/* A hash table in shared memory is allocated at its full size from the start. */
#if PG_VERSION_NUM >= 190000
#define compat_shmem_hash(name, max, ctl, flags) ShmemInitHash(name, max, ctl, flags)
#else
#define compat_shmem_hash(name, max, ctl, flags) ShmemInitHash(name, Min(max, 64), max, ctl, flags)
#endif

/*
 * Scans take flags, for example that the query only reads, and scans of indexes can be
 * instrumented; pm does neither.
 */
#if PG_VERSION_NUM >= 190000
#define COMPAT_SCAN_FLAGS , SO_NONE
#else
#define COMPAT_SCAN_FLAGS
#endif
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(rel, index, snapshot, nkeys)                                        \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0 COMPAT_SCAN_FLAGS)
#define compat_index_beginscan_bitmap(index, snapshot, nkeys)                                      \
	index_beginscan_bitmap(index, snapshot, NULL, nkeys)
#else
#define compat_index_beginscan(rel, index, snapshot, nkeys)                                        \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#define compat_index_beginscan_bitmap(index, snapshot, nkeys)                                      \
	index_beginscan_bitmap(index, snapshot, nkeys)
#endif
#define compat_index_fetch_begin(rel) table_index_fetch_begin(rel COMPAT_SCAN_FLAGS)
#define compat_table_beginscan(rel, snapshot)                                                      \
	table_beginscan(rel, snapshot, 0, NULL COMPAT_SCAN_FLAGS)

/* Pruning a page may also set its bit in the visibility map, and pins the map's page for that. */
static inline void
compat_prune_page(Relation rel, Buffer buffer)
{
#if PG_VERSION_NUM >= 190000
	Buffer map = InvalidBuffer;

	heap_page_prune_opt(rel, buffer, &map, false);
	if (BufferIsValid(map))
		ReleaseBuffer(map);
#else
	heap_page_prune_opt(rel, buffer);
#endif
}

/* How to make rows of one table's columns those of another's; NULL if nothing need be done. */
#if PG_VERSION_NUM >= 160000
#define compat_attrmap_if_required(in, out) build_attrmap_by_name_if_req(in, out, false)
#else
#define compat_attrmap_if_required(in, out) build_attrmap_by_name_if_req(in, out)
#endif

/* table_tuple_delete() takes flags. */
#if PG_VERSION_NUM >= 190000
#define compat_table_delete(rel, tid, cid, snapshot, crosscheck, wait, failure)                    \
	table_tuple_delete(rel, tid, cid, 0, snapshot, crosscheck, wait, failure)
#else
#define compat_table_delete(rel, tid, cid, snapshot, crosscheck, wait, failure)                    \
	table_tuple_delete(rel, tid, cid, snapshot, crosscheck, wait, failure, false)
#endif

/*
 * ExecInsertIndexTuples() takes a word of flags instead of boolean arguments, of which
 * 16 had added one: an update may need only the summarizing indexes.
 */
#if PG_VERSION_NUM >= 190000
#define compat_insert_index_tuples(target, slot, estate, no_error, conflict, arbiters)             \
	ExecInsertIndexTuples(target, estate, (no_error) ? EIIT_NO_DUPE_ERROR : 0, slot, arbiters,     \
						  conflict)
#define compat_update_index_tuples(target, slot, estate, which)                                    \
	ExecInsertIndexTuples(target, estate, (which) == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0,   \
						  slot, NIL, NULL)
#define compat_tuple_update(rel, tid, slot, cid, ...)                                              \
	table_tuple_update(rel, tid, slot, cid, 0, __VA_ARGS__)
#elif PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(target, slot, estate, no_error, conflict, arbiters)             \
	ExecInsertIndexTuples(target, slot, estate, false, no_error, conflict, arbiters, false)
#define compat_update_index_tuples(target, slot, estate, which)                                    \
	ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL, (which) == TU_Summarizing)
#define compat_tuple_update table_tuple_update
#else
#define TU_UpdateIndexes bool
#define TU_None			 false
#define compat_insert_index_tuples(target, slot, estate, no_error, conflict, arbiters)             \
	ExecInsertIndexTuples(target, slot, estate, false, no_error, conflict, arbiters)
#define compat_update_index_tuples(target, slot, estate, which)                                    \
	ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL)
#define compat_tuple_update table_tuple_update
#endif

/* FuncnameGetCandidates() also returns why it found no function; pm does not use that. */
static inline FuncCandidateList
compat_functions_of_name(List *names)
{
#if PG_VERSION_NUM >= 190000
	int why;

	return FuncnameGetCandidates(names, -1, NIL, false, false, false, true, &why);
#else
	return FuncnameGetCandidates(names, -1, NIL, false, false, false, true);
#endif
}

/* The state of a jsonb value under construction contains the result.  It starts as {0}. */
#if PG_VERSION_NUM >= 190000
typedef JsonbInState CompatJsonb;
#define compat_jsonb_push(jsonb, token, value) pushJsonbValue(jsonb, token, value)
#else
typedef struct CompatJsonb
{
	JsonbParseState *state;
	JsonbValue *result;
} CompatJsonb;
#define compat_jsonb_push(jsonb, token, value)                                                     \
	((void) ((jsonb)->result = pushJsonbValue(&(jsonb)->state, token, value)))
#endif

/*
 * The hook that sees what the planner knows of a relation was replaced by one
 * that is also called for relations that are not tables.
 * COMPAT_RELATION_HOOK(function) defines function_install(); after it,
 * function(relid, rel) is called for each table.  Its users include
 * optimizer/plancat.h and optimizer/pathnode.h.
 */
#if PG_VERSION_NUM >= 190000
#define COMPAT_RELATION_HOOK(function)                                                             \
	static build_simple_rel_hook_type function##_prev = NULL;                                      \
	static void function##_hook(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)            \
	{                                                                                              \
		if (function##_prev)                                                                       \
			function##_prev(root, rel, rte);                                                       \
		if (rte->rtekind == RTE_RELATION)                                                          \
			function(rte->relid, rel);                                                             \
	}                                                                                              \
	static void function##_install(void)                                                           \
	{                                                                                              \
		function##_prev = build_simple_rel_hook;                                                   \
		build_simple_rel_hook = function##_hook;                                                   \
	}
#else
#define COMPAT_RELATION_HOOK(function)                                                             \
	static get_relation_info_hook_type function##_prev = NULL;                                     \
	static void function##_hook(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)     \
	{                                                                                              \
		if (function##_prev)                                                                       \
			function##_prev(root, relid, inhparent, rel);                                          \
		function(relid, rel);                                                                      \
	}                                                                                              \
	static void function##_install(void)                                                           \
	{                                                                                              \
		function##_prev = get_relation_info_hook;                                                  \
		get_relation_info_hook = function##_hook;                                                  \
	}
#endif

#endif /* PM_COMPAT_H */
