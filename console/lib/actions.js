// What the console can change, with --write: calls of pm's functions, by the role of the connection, which decides
// whether it may.
import { BadRequest, bigint, text } from './input.js';
import { messageGroup } from './sql.js';

const name = (given) => text(given, 'manager');
const key = (given) => text(given, 'key');
const event = (given) => [
  name(given),
  text(given, 'log', { optional: true }),
  bigint(given, 'position'),
  text(given, 'key', { optional: true }),
];

/** An action that is one call. */
const call = (sql, values) => async (query, given) => ({ result: Object.values((await query(`SELECT ${sql} AS result`, values(given)))[0])[0] });

// At most this many at once: a call locks the process manager until the transaction ends, and its batches wait.
const groupSize = 500;

/**
 * Retries or discards a group of parked events, some at a time. The page repeats the request, each time with the place
 * that the last one has reached, until nothing is left.
 *
 * The first call waits for the batch that is running. From then on nothing is handled, so what is found afterwards is
 * still there. The first event itself may have been handled meanwhile; then the next one is taken.
 */
function group(verb) {
  const members = `
    SELECT parked_at, log, position, key FROM pm.parked
    WHERE process_manager = $1 AND state = $2 AND ${messageGroup} = $3 AND parked_at <= $4::timestamptz
      AND ($5::timestamptz IS NULL OR (parked_at, coalesce(log, ''), position, coalesce(key, '')) > ($5, $6::text, $7::bigint, $8::text))
    ORDER BY parked_at, coalesce(log, ''), position, coalesce(key, '')`;
  const placeOf = ({ parked_at, log, position, key: of }) => [parked_at, log ?? '', position, of ?? ''];

  return async (query, given) => {
    const which = [name(given), text(given, 'state'), text(given, 'group'), text(given, 'until', { limit: 100 })];
    if (verb === 'retry' && which[1] === 'behind') throw new BadRequest('what waits behind another event cannot be retried');
    const place = Array.isArray(given.place) && given.place.length === 4 ? given.place.map((part) => text({ part }, 'part')) : [null, null, null, null];

    let first;
    for (const member of await query(`${members} LIMIT 20`, [...which, ...place])) {
      await query('SAVEPOINT one');
      try {
        await query(`SELECT pm.${verb}($1, $2, $3::bigint, $4)`, [which[0], member.log, member.position, member.key]);
        first = member;
        break;
      } catch (error) {
        // It is no longer parked, or is behind another one.
        if (error.code !== '42704' && error.code !== '55000') throw error;
        await query('ROLLBACK TO SAVEPOINT one');
      }
    }
    if (!first) return { done: 0, more: false };
    const others = await query(
      `SELECT m.*, pm.${verb}($1, m.log, m.position, m.key) FROM (${members} LIMIT ${groupSize - 1}) m`,
      [...which, ...placeOf(first)],
    );
    return { done: 1 + others.length, more: others.length === groupSize - 1, place: placeOf(others.at(-1) ?? first) };
  };
}

const actions = {
  retry: call('pm.retry($1, $2, $3::bigint, $4)', event),
  discard: call('pm.discard($1, $2, $3::bigint, $4)', event),
  retry_group: group('retry'),
  discard_group: group('discard'),
  retry_dead: call('pm.retry($1)', (given) => [name(given)]),
  discard_dead: call('pm.discard($1)', (given) => [name(given)]),
  pause: call('pm.pause($1)', (given) => [name(given)]),
  resume: call('pm.resume($1)', (given) => [name(given)]),
  send: call('pm.send($1, $2, $3, $4::jsonb)', (given) => [name(given), key(given), text(given, 'type'), text(given, 'data', { optional: true }) || '{}']),
  set_state: call('pm.set_state($1, $2, $3::jsonb, $4)', (given) => [name(given), key(given), text(given, 'state'), text(given, 'reason')]),
  end_instance: call('pm.end_instance($1, $2, $3)', (given) => [name(given), key(given), text(given, 'reason')]),
};

export function act(database) {
  return async (given) => {
    const action = Object.hasOwn(actions, given.action) ? actions[given.action] : undefined;
    if (!action) throw new BadRequest('there is no such action');
    if (!database.write) throw Object.assign(new BadRequest('this console is read-only: start it with --write'), { status: 403 });
    const { result, notices } = await database.change((query) => action(query, given));
    return { ...result, notices };
  };
}
