/*
 * attach_literal.c
 *		Literals of times in the expressions of an attached log.
 *
 * The value of a literal like 'now', '1/2/2026' or '2026-01-01 EST' depends on when it is read, or
 * on settings: DateStyle, and the abbreviations of time zones.  So a time must be written as in
 * ISO 8601.  Without a time zone it is one of UTC (attach_build.c).
 */
#include "pm.h"

#include "log/attach_literal.h"

/*
 * Reads between "least" and "most" digits.
 */
static bool
attach_literal_digits(const char **at, int least, int most)
{
	int count = 0;

	while (count < most && **at >= '0' && **at <= '9')
	{
		(*at)++;
		count++;
	}
	return count >= least;
}

static bool
attach_literal_char(const char **at, const char *any)
{
	if (**at == '\0' || strchr(any, **at) == NULL)
		return false;
	(*at)++;
	return true;
}

static bool
attach_literal_date(const char **at)
{
	return attach_literal_digits(at, 4, 4) && attach_literal_char(at, "-") &&
		   attach_literal_digits(at, 2, 2) && attach_literal_char(at, "-") &&
		   attach_literal_digits(at, 2, 2);
}

static bool
attach_literal_time(const char **at)
{
	if (!attach_literal_digits(at, 2, 2) || !attach_literal_char(at, ":") ||
		!attach_literal_digits(at, 2, 2))
		return false;
	if (!attach_literal_char(at, ":"))
		return true;
	if (!attach_literal_digits(at, 2, 2))
		return false;
	return !attach_literal_char(at, ".") || attach_literal_digits(at, 1, 6);
}

static bool
attach_literal_zone(const char **at)
{
	if (attach_literal_char(at, "Z"))
		return true;
	if (!attach_literal_char(at, "+-") || !attach_literal_digits(at, 2, 2))
		return false;
	return !attach_literal_char(at, ":") || attach_literal_digits(at, 2, 2);
}

/*
 * A literal that continues on another line has another quote after it.
 */
static bool
attach_literal_ends(const char *at)
{
	if (*at++ != '\'')
		return false;
	while (*at == ' ' || (*at >= '\t' && *at <= '\r'))
		at++;
	/* A comment could hide the rest. */
	return *at != '\'' && strncmp(at, "--", 2) != 0 && strncmp(at, "/*", 2) != 0;
}

bool
attach_literal_is_fixed(const char *text, int location)
{
	const char *at = text + location;

	if (location < 0 || location >= (int) strlen(text) || *at++ != '\'' ||
		!attach_literal_date(&at))
		return false;
	if (attach_literal_ends(at))
		return true;
	if (!attach_literal_char(&at, " T") || !attach_literal_time(&at))
		return false;
	if (attach_literal_ends(at))
		return true;
	(void) attach_literal_char(&at, " ");
	return attach_literal_zone(&at) && attach_literal_ends(at);
}
