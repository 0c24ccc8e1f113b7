// Pieces of SQL that several queries share.

// A value that is larger than this in its stored form is not read at all. A value may be compressed, to as little as a hundredth.
const storedLimit = 200_000;
const shownLimit = 20_000;

/** A jsonb as text on several lines, with its size. NULL where it is too large; cut after shownLimit characters. */
export function json(expression, name) {
  return `CASE WHEN pg_column_size(${expression}) <= ${storedLimit} THEN left(jsonb_pretty(${expression}), ${shownLimit}) END AS ${name},
         pg_column_size(${expression}) AS ${name}_size`;
}

/** The beginning of a jsonb on one line. */
export function brief(expression, name, length = 300) {
  return `CASE WHEN pg_column_size(${expression}) <= ${storedLimit} THEN left(${expression}::text, ${length})
              WHEN ${expression} IS NOT NULL THEN '…' END AS ${name}`;
}

/** A long text, and the length of all of it. */
export function cut(expression, name, length = 8000) {
  return `left(${expression}, ${length}) AS ${name}, length(${expression}) AS ${name}_length`;
}

/**
 * What a message says, whatever it is about: quoted names and values, and digits, are replaced, so that ten thousand
 * events with the same error make one group.
 */
export const messageGroup = `coalesce(regexp_replace(left(message, 300), '"[^"]*"?|''[^'']*''?|[0-9]+', '…', 'g'), '')`;
