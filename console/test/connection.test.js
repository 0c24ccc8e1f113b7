// Small parts that need no server: connections, keys, hints with SQL in them, times, texts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectionConfig } from '../lib/connection.js';
import { storedKey } from '../lib/instance.js';
import { quote } from '../lib/diagram.js';
import { History } from '../lib/history.js';
import { rank } from '../lib/snapshot.js';
import { linksIn, placeOf } from '../public/links.js';
import { literal, statementsIn } from '../public/sql.js';

test('connections', () => {
  const env = { PGUSER: 'me', PGHOST: '/tmp' };
  assert.deepEqual(connectionConfig('postgres://a@b/c', env), { connectionString: 'postgres://a@b/c' });
  assert.deepEqual(connectionConfig(undefined, env), { user: 'me', database: 'me' });
  assert.deepEqual(connectionConfig('shop', env), { user: 'me', database: 'shop' });
  assert.deepEqual(connectionConfig("host=/tmp port = 5433 dbname='my \\'db\\' x' user=a\\ b  ", {}), { host: '/tmp', port: '5433', database: "my 'db' x", user: 'a b' });
  assert.deepEqual(connectionConfig('host=h sslmode=require dbname=d user=u', env).ssl.rejectUnauthorized, false);
  assert.equal(connectionConfig('host=h sslmode=disable dbname=d user=u', env).ssl, false);
  for (const wrong of ['host=a b', "dbname='x", 'sslmode=perhaps', 'host=h unknown=1', '=']) assert.throws(() => connectionConfig(wrong, env), wrong);
});

test('keys as they are stored', () => {
  const stored = `sha256:${'0'.repeat(64)}`;
  assert.equal(storedKey('order-1'), 'order-1');
  assert.equal(storedKey(stored), stored);
  assert.match(storedKey('x'.repeat(1001)), /^sha256:[0-9a-f]{64}$/u);
  assert.match(storedKey('sha256:x'), /^sha256:[0-9a-f]{64}$/u);
  assert.equal(storedKey('ä'.repeat(500)), 'ä'.repeat(500));
});

test('statements in hints', () => {
  const sqlIn = (hint) => statementsIn(hint).filter((part) => part.sql).map((part) => part.sql.trim());
  const cases = {
    "SELECT pm.resume('m') ends the pause.": ["SELECT pm.resume('m')"],
    "SELECT * FROM pm.parked WHERE process_manager = 'it''s; a. b' shows them. A failing event is tried again": ["SELECT * FROM pm.parked WHERE process_manager = 'it''s; a. b'"],
    'SELECT * FROM pm.blocker shows which session it is.': ['SELECT * FROM pm.blocker'],
    'SELECT pg_terminate_backend(4711);': ['SELECT pg_terminate_backend(4711);'],
    "COMMIT PREPARED 'x'; or ROLLBACK PREPARED 'x';": ["COMMIT PREPARED 'x';", "ROLLBACK PREPARED 'x';"],
    'Run ALTER ROLE "a b" LOGIN.': ['ALTER ROLE "a b" LOGIN'],
    'Run GRANT CONNECT ON DATABASE d TO r.': ['GRANT CONNECT ON DATABASE d TO r'],
    'Run GRANT SELECT on its table, and GRANT USAGE on its schema, TO x.': [],
    "SELECT reason, hint FROM pm.status WHERE process_manager = 'x' says why.": ["SELECT reason, hint FROM pm.status WHERE process_manager = 'x'"],
    'Set pm.launcher = on and reload the configuration.': [],
    'It is this session. COMMIT or ROLLBACK its transaction.': [],
  };
  for (const [hint, expected] of Object.entries(cases)) {
    assert.deepEqual(sqlIn(hint), expected, hint);
    assert.equal(statementsIn(hint).map((part) => part.sql ?? part.text).join(''), hint);
  }
  assert.deepEqual(statementsIn('SELECT ('.repeat(2000)).map((part) => part.sql ?? part.text).join(''), 'SELECT ('.repeat(2000));
});

test('what reasons and hints name leads to its page', () => {
  const found = (text) => linksIn(text, 'm').filter((part) => part.href).map((part) => [part.text, part.href]);
  assert.deepEqual(found('the handler failed at position 5 of log "a/b c": no "x"'), [['position 5 of log "a/b c"', '#/log/a%2Fb%20c/event/5']]);
  assert.deepEqual(found('its dispatcher has been busy with process manager "n" for 3 s'), [['process manager "n"', '#/process-manager/n']]);
  assert.deepEqual(found('log "l" is locked; key "k"'), [['log "l"', '#/log/l'], ['key "k"', '#/process-manager/m/instance/k']]);
  assert.deepEqual(found('pm.blocker names it'), [['pm.blocker', '#/workers']]);
  assert.deepEqual(linksIn('key "k"').filter((part) => part.href), []);
  assert.deepEqual(found('log "javascript:alert(1)"'), [['log "javascript:alert(1)"', '#/log/javascript%3Aalert(1)']]);
  for (const text of ['', 'log "', 'position 99999999999999999999 of log "x"', 'log "x" and log "y"']) assert.equal(linksIn(text).map((part) => part.text).join(''), text);

  assert.deepEqual(placeOf('SELECT * FROM pm.blocker'), { href: '#/workers', label: 'Workers' });
  assert.deepEqual(placeOf("SELECT pm.resume('it''s')"), { href: "#/process-manager/it's", label: "it's" });
  assert.deepEqual(placeOf("SELECT pm.seek('m', 'l', 7)"), { href: '#/log/l/event/7', label: 'l@7' });
  assert.deepEqual(placeOf("SELECT * FROM pm.parked WHERE process_manager = 'm'"), { href: '#/process-manager/m', label: 'm' });
  assert.equal(placeOf('SELECT pg_terminate_backend(1);'), undefined);
});

test('what needs a person comes first', () => {
  const idle = { state: 'idle', reason: null, dead: '0', parked: '0', deferred: '0', overdue: '0' };
  const order = [
    { ...idle, state: 'halted' },
    { ...idle, state: 'waiting', reason: 'log "x" is locked' },
    { ...idle, state: 'running', reason: 'it waits for a lock since 20 s' },
    { ...idle, state: 'paused' },
    { ...idle, parked: '3', dead: '1', reason: '3 events are parked, 1 of them dead' },
    { ...idle, state: 'retrying' },
    { ...idle, state: 'running', overdue: '1', reason: '1 timer is overdue' },
    { ...idle, parked: '2', deferred: '1', reason: '2 events are parked' },
    { ...idle, state: 'running', reason: 'consumer "c" has fetched 3 of its events' },
    { ...idle, parked: '2', deferred: '2', reason: '2 events are parked' },
    idle,
  ];
  assert.deepEqual(order.map(rank), order.map((_, n) => n));
});

test('literals, as PostgreSQL reads them', () => {
  assert.equal(literal("it's"), "'it''s'");
  assert.equal(literal("a\\'b"), "E'a\\\\''b'");
  assert.equal(literal(null), 'NULL');
});

test('names in Graphviz text stay names', () => {
  assert.equal(quote('a"]; evil [x="'), '"a\\"]; evil [x=\\""');
  assert.equal(quote('a\\'), '"a\\\\"');
  assert.equal(quote('a\nb\u202Ec'), '"a\uFFFDb\uFFFDc"');
});

test('the ring of samples', () => {
  const history = new History();
  for (let n = 0; n < 1000; n++) history.push(n, new Map([['m', [n, NaN, 0, 0, 0]], ...(n > 900 ? [['late', [1, 1, 1, 1, 1]]] : [])]));
  const { t, rate, behind } = history.of('m');
  assert.deepEqual([t.length, t[0], t.at(-1), rate.at(-1), behind[0]], [450, 550, 999, 999, null]);
  assert.deepEqual(history.of('late').rate.filter((v) => v !== null).length, 99);
  assert.deepEqual(history.of('nobody').t, []);
  assert.deepEqual(history.of('m', 990).t.length, 10);
});
