/*
 * next.c
 *		A function of the next version, for test/t/210_upgrade.pl.
 */
#include "pm.h"

#include "utils/builtins.h"

#include "base/version.h"

PG_FUNCTION_INFO_V1(pm_next_feature);

Datum
pm_next_feature(PG_FUNCTION_ARGS)
{
	version_require(PM_VERSION, "pm.next_feature");
	PG_RETURN_TEXT_P(cstring_to_text("the next version"));
}
