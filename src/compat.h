/*
 * compat.h
 *		Every difference between PostgreSQL versions that pm meets, one wrapper each.
 *
 * No other file tests PG_VERSION_NUM.
 */
#ifndef PM_COMPAT_H
#define PM_COMPAT_H

#include "access/htup_details.h"
#include "access/twophase.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "nodes/tidbitmap.h"
#include "parser/parse_relation.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 150000
#error "pm needs PostgreSQL 15 or later"
#endif

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
 * A virtual transaction id names a backend: by backend id until 16, by proc
 * number from 17.  compat_vxid_index() is that number, below
 * COMPAT_VXID_INDEX_MAX, or negative for a prepared transaction recovered
 * after a restart.
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

/* Has this transaction given a relation that was there before a new file? */
#if PG_VERSION_NUM >= 160000
#define compat_file_is_new(rel)                                                                    \
	((rel)->rd_createSubid == InvalidSubTransactionId &&                                           \
	 (rel)->rd_firstRelfilelocatorSubid != InvalidSubTransactionId)
#else
#define compat_file_is_new(rel)                                                                    \
	((rel)->rd_createSubid == InvalidSubTransactionId &&                                           \
	 (rel)->rd_firstRelfilenodeSubid != InvalidSubTransactionId)
#endif

/* A function that does not return; before its declaration. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_NORETURN pg_noreturn
#else
#define COMPAT_NORETURN pg_attribute_noreturn()
#endif

/* The sequence behind an identity column. */
static inline Oid
compat_identity_sequence(Relation rel, AttrNumber attnum)
{
#if PG_VERSION_NUM >= 170000
	return getIdentitySequence(rel, attnum, true);
#else
	return getIdentitySequence(RelationGetRelid(rel), attnum, true);
#endif
}

/* Begins to scan a table by an index. */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(rel, index, snapshot, nkeys)                                        \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define compat_index_beginscan(rel, index, snapshot, nkeys)                                        \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#endif

/* The same for a bitmap of the rows. */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan_bitmap(index, snapshot, nkeys)                                      \
	index_beginscan_bitmap(index, snapshot, NULL, nkeys)
#else
#define compat_index_beginscan_bitmap(index, snapshot, nkeys)                                      \
	index_beginscan_bitmap(index, snapshot, nkeys)
#endif

/*
 * The pages of a bitmap: begin, next, end.  compat_bitmap_next() returns false
 * at the end; *count is that of the offsets on the page, or -1: any row of it
 * may be meant.
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

/* A statement asks for rights on one of its tables. */
static inline void
compat_ask_for(PlannedStmt *statement, RangeTblEntry *table, AclMode rights)
{
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&statement->permInfos, table)->requiredPerms = rights;
#else
	table->requiredPerms = rights;
#endif
}

/* Runs a statement to its end. */
#if PG_VERSION_NUM >= 180000
#define compat_executor_run(query) ExecutorRun(query, ForwardScanDirection, 0)
#else
#define compat_executor_run(query) ExecutorRun(query, ForwardScanDirection, 0, true)
#endif

/* A generated column whose values are not in the table: from 18. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_GENERATED_VIRTUAL ATTRIBUTE_GENERATED_VIRTUAL
#else
#define COMPAT_GENERATED_VIRTUAL 'v'
#endif

/* Puts a row into the indexes of its table. */
#if PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(target, slot, estate, no_error, conflict, arbiters)             \
	ExecInsertIndexTuples(target, slot, estate, false, no_error, conflict, arbiters, false)
#else
#define compat_insert_index_tuples(target, slot, estate, no_error, conflict, arbiters)             \
	ExecInsertIndexTuples(target, slot, estate, false, no_error, conflict, arbiters)
#endif

/* Waits for who may hold the same key; is it free then?  (18 can leave out the row itself.) */
#if PG_VERSION_NUM >= 180000
#define compat_check_index_constraints(target, slot, estate, tid, arbiters)                        \
	(ItemPointerSetInvalid(tid),                                                                   \
	 ExecCheckIndexConstraints(target, slot, estate, tid, tid, arbiters))
#else
#define compat_check_index_constraints(target, slot, estate, tid, arbiters)                        \
	ExecCheckIndexConstraints(target, slot, estate, tid, arbiters)
#endif

/* Does this backend hold exactly this lock?  (18 may count stronger ones.) */
#if PG_VERSION_NUM >= 170000
#define compat_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define compat_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode)
#endif

/* The setting that makes plans parallel for the sake of tests. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_FORCE_PARALLEL "debug_parallel_query"
#else
#define COMPAT_FORCE_PARALLEL "force_parallel_mode"
#endif

/* Rights on functions, databases and tables: one generic function from 16. */
#if PG_VERSION_NUM >= 160000
#define compat_proc_aclcheck(oid, role, mode) object_aclcheck(ProcedureRelationId, oid, role, mode)
#define compat_namespace_aclcheck(oid, role, mode)                                                 \
	object_aclcheck(NamespaceRelationId, oid, role, mode)
#define compat_database_aclcheck(oid, role, mode)                                                  \
	object_aclcheck(DatabaseRelationId, oid, role, mode)
#define compat_database_ownercheck(oid, role) object_ownercheck(DatabaseRelationId, oid, role)
#define compat_class_ownercheck(oid, role)	  object_ownercheck(RelationRelationId, oid, role)
#else
#define compat_proc_aclcheck(oid, role, mode)	   pg_proc_aclcheck(oid, role, mode)
#define compat_namespace_aclcheck(oid, role, mode) pg_namespace_aclcheck(oid, role, mode)
#define compat_database_aclcheck(oid, role, mode)  pg_database_aclcheck(oid, role, mode)
#define compat_database_ownercheck(oid, role)	   pg_database_ownercheck(oid, role)
#define compat_class_ownercheck(oid, role)		   pg_class_ownercheck(oid, role)
#endif

/* A setting by its name, NULL if there is none. */
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

/* Refuses a role that cannot SET ROLE to the other one. */
#if PG_VERSION_NUM >= 160000
#define compat_check_can_set_role(member, role) check_can_set_role(member, role)
#else
#define compat_check_can_set_role(member, role) check_is_member_of_role(member, role)
#endif

#endif /* PM_COMPAT_H */
