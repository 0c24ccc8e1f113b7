/*
 * pinned.c
 *		Makes plans for the fixed statements that depend on neither statistics nor settings.
 *
 * The private tables are often empty when a statement is planned, and large when its plan
 * is used.  Autovacuum may have found a table empty, or only one value in a column, and a
 * session may have its own planner settings.  A plan that is made from these may
 * scan a whole table, or use an index although the statement gives only its first column.
 * Such a plan takes longer with each row of the table.
 *
 * So while a fixed statement is planned, the planner is shown large tables without
 * statistics, and its settings have the values below.  Then the index that matches
 * the most columns is the cheapest, and a unique row is found by its unique index.
 *
 * The plan is made before the statement runs.  If an invalidation arrives between the
 * two, the plan cache makes another plan by itself.  The next call notices that by the
 * generation of the plan, and makes a new pinned plan.
 */
#include "pm.h"

#include "catalog/namespace.h"
#include "nodes/pathnodes.h"
#include "optimizer/pathnode.h"
#include "optimizer/plancat.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/selfuncs.h"

#include "base/extension.h"
#include "base/pinned.h"

/* The size of a private table as the planner sees it. */
#define PINNED_PAGES  1000000
#define PINNED_TUPLES 100000000.0

/* The planner's settings while it plans a fixed statement. */
static const struct
{
	const char *name;
	const char *value;
} pinned_settings[] = {
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"enable_indexscan", "on"},
	{"enable_indexonlyscan", "on"},
	{"enable_tidscan", "on"},
	{"enable_nestloop", "on"},
	{"enable_hashjoin", "on"},
	{"enable_mergejoin", "on"},
	{"enable_sort", "on"},
	{"enable_incremental_sort", "on"},
	{"enable_hashagg", "on"},
	{"enable_material", "on"},
	{"enable_memoize", "off"},
	{"seq_page_cost", "1"},
	{"random_page_cost", "4"},
	{"cpu_tuple_cost", "0.01"},
	{"cpu_index_tuple_cost", "0.005"},
	{"cpu_operator_cost", "0.0025"},
	{"effective_cache_size", "4GB"},
	{"geqo", "off"},
	{"from_collapse_limit", "8"},
	{"join_collapse_limit", "8"},
	{"max_parallel_workers_per_gather", "0"},
	{COMPAT_FORCE_PARALLEL, "off"},
	{"jit", "off"},
};

static bool pinned_planning = false;
static get_relation_stats_hook_type prev_relation_stats = NULL;

static bool
pinned_is_private(Oid relid)
{
	return get_rel_namespace(relid) == extension_schema("pm_catalog");
}

/*
 * Shows the planner large private tables, and large indexes on them.
 */
static void
pinned_relation_info(Oid relid, RelOptInfo *rel)
{
	ListCell *lc;

	if (!pinned_planning || !pinned_is_private(relid))
		return;
	rel->pages = PINNED_PAGES;
	rel->tuples = PINNED_TUPLES;
	rel->allvisfrac = 0;
	rel->statlist = NIL;
	foreach(lc, rel->indexlist)
	{
		IndexOptInfo *index = lfirst_node(IndexOptInfo, lc);

		/* This includes partial indexes, so that none is chosen only because it is small. */
		index->pages = PINNED_PAGES / 4;
		index->tuples = PINNED_TUPLES;
		index->tree_height = 3;
	}
}

COMPAT_RELATION_HOOK(pinned_relation_info)

/*
 * get_relation_stats_hook: private tables have no statistics.
 */
static bool
pinned_relation_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum,
					  VariableStatData *vardata)
{
	if (pinned_planning && rte->rtekind == RTE_RELATION && pinned_is_private(rte->relid))
	{
		vardata->statsTuple = NULL;
		return true;
	}
	return prev_relation_stats && prev_relation_stats(root, rte, attnum, vardata);
}

void
pinned_install(void)
{
	pinned_relation_info_install();
	prev_relation_stats = get_relation_stats_hook;
	get_relation_stats_hook = pinned_relation_stats;
}

static CachedPlanSource *
pinned_source(SPIPlanPtr plan)
{
	return (CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan));
}

PinnedPlan *
pinned_make(SPIPlanPtr plan)
{
	PinnedPlan *pinned = MemoryContextAlloc(TopMemoryContext, sizeof(PinnedPlan));
	int guc_level = NewGUCNestLevel();
	CachedPlan *cached = NULL;

	for (int i = 0; i < lengthof(pinned_settings); i++)
		(void) set_config_option(pinned_settings[i].name, pinned_settings[i].value, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* If planning fails, the hooks must not stay switched on. */
	pinned_planning = true;
	PG_TRY();
	{
		cached = SPI_plan_get_cached_plan(plan);
	}
	PG_FINALLY();
	{
		pinned_planning = false;
	}
	PG_END_TRY();
	if (cached == NULL)
		elog(ERROR, "could not plan a fixed statement: %s", SPI_result_code_string(SPI_result));
	/* The plan cache keeps the plan; the reference was only needed to have it made. */
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(false, guc_level);
	pinned->plan = plan;
	pinned->generation = pinned_source(plan)->generation;
	return pinned;
}

bool
pinned_holds(const PinnedPlan *pinned)
{
	CachedPlanSource *source = pinned_source(pinned->plan);

	return source->generation == pinned->generation && source->is_valid && source->gplan != NULL &&
		   source->gplan->is_valid;
}

void
pinned_free(PinnedPlan *pinned)
{
	if (SPI_freeplan(pinned->plan) != 0)
		elog(ERROR, "SPI_freeplan failed: %s", SPI_result_code_string(SPI_result));
	pfree(pinned);
}
