// What an event of the outbox becomes, whatever is in it.
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import { Networks } from '../lib/address.js';
import { call } from '../lib/call.js';
import { Hosts } from '../lib/hosts.js';
import { parseJson } from '../lib/json.js';
import { Permanent } from '../lib/permanent.js';
import { idempotencyKey, requestOf } from '../lib/request.js';
import { settingsOf } from '../lib/settings.js';

const SETTINGS = { hosts: new Hosts(['api.test', '127.0.0.1:*']), maxBody: 10000 };
const request = (data, more) => requestOf({ log: 'outbox', position: '7', data: typeof data === 'string' ? parseJson(data) : data }, { ...SETTINGS, ...more });
const URL_OK = 'https://api.test/x';

test('an event that is as it should be', () => {
  const { url, method, headers, body, accept, reply } = request({ url: `${URL_OK}?q=1`, headers: { 'X-A': 'b' }, body: { n: 1 }, accept: [409] });

  assert.equal(url.href, 'https://api.test/x?q=1');
  assert.equal(method, 'POST');
  assert.deepEqual(headers, [['X-A', 'b'], ['Content-Type', 'application/json'], ['User-Agent', 'pm-webhook-sender'],
    ['Idempotency-Key', 'outbox/7'], ['Accept-Encoding', 'identity'], ['Content-Length', '7']]);
  assert.equal(body.toString(), '{"n":1}');
  assert.deepEqual(accept, [409]);
  assert.equal(reply, null, 'nobody waits for it');
  assert.equal(request({ url: URL_OK, reply: 'answered' }).reply, 'answered');
  assert.equal(request({ url: URL_OK, method: 'GET' }).body, null);
  assert.deepEqual(request({ url: URL_OK, body: 'é' }).headers.filter(([name]) => /^Content/.test(name)),
    [['Content-Type', 'text/plain; charset=utf-8'], ['Content-Length', '2']]);
  assert.deepEqual(request({ url: URL_OK, body: '<a/>', headers: { 'content-type': 'text/xml' } }).headers[0], ['content-type', 'text/xml']);
});

test('a body is sent as it is', () => {
  const text = '{"body": {"id": 12345678901234567890, "price": 1.10, "a": "{\\"body\\": \\",}"}, "url": "https://api.test/", "z": {"body": 1}}';

  assert.equal(request(text).body.toString(), '{"id": 12345678901234567890, "price": 1.10, "a": "{\\"body\\": \\",}"}');
  assert.equal(request('{"z": [{"body": 2}, "body"], "url": "https://api.test/", "body": 9007199254740993}').body.toString(), '9007199254740993');
  assert.equal(request('{"z": {"body": 2}, "\\u0062ody": [], "url": "https://api.test/"}').body.toString(), '[]');
  assert.equal(request('{"url": "https://api.test/", "body": false}').body.toString(), 'false');
  assert.equal(request('{"url": "https://api.test/", "body": "a \\"b\\""}').body.toString(), 'a "b"');
  const deep = `${'['.repeat(2000)}1${']'.repeat(2000)}`;
  assert.equal(request(`{"url": "https://api.test/", "body": ${deep}}`).body.toString(), deep);
});

test('events that cannot be sent', () => {
  for (const [data, message] of [
    [null, /not an object/], [[], /not an object/], ['"x"', /not an object/], [7, /not an object/], [{}, /"url" is missing/], [{ url: 7 }, /"url" is missing/], [{ url: {} }, /"url"/],
    [{ url: '' }, /not a URL/], [{ url: '/x' }, /not a URL/], [{ url: 'api.test' }, /not a URL/], [{ url: 'https://' }, /not a URL/], [{ url: 'https://api.test:99999/' }, /not a URL/],
    [{ url: `${URL_OK}\r\nX: y` }, /control characters/], [{ url: ` ${URL_OK}` }, /spaces/], [{ url: 'https://api\t.test/' }, /control characters/],
    [{ url: `${URL_OK}?${'x'.repeat(9000)}` }, /longer than/],
    [{ url: 'file:///etc/passwd' }, /neither/], [{ url: 'ftp://api.test/' }, /neither/], [{ url: 'javascript:1' }, /neither/], [{ url: 'data:,x' }, /neither/],
    [{ url: 'gopher://api.test/' }, /neither/], [{ url: 'unix:/run/x' }, /neither/], [{ url: 'blob:https://api.test/x' }, /neither/],
    [{ url: 'https://user@api.test/' }, /user or a password/], [{ url: 'https://:pw@api.test/' }, /user or a password/], [{ url: 'https://api.test@evil.test/' }, /user or a password/],
    [{ url: 'https://evil.test/' }, /not in PM_SENDER_HOSTS/], [{ url: 'https://evil.test\\@api.test/' }, /not in PM_SENDER_HOSTS/], [{ url: 'https://evil.test#@api.test/' }, /not in PM_SENDER_HOSTS/],
    [{ url: 'https://api.test:22/' }, /port 22/], [{ url: 'https://api.test.evil.test/' }, /PM_SENDER_HOSTS/], [{ url: 'https://10.0.0.1/' }, /PM_SENDER_HOSTS/],
    ...['CONNECT', 'TRACE', 'get', 'OPTIONS', '', 'GET / HTTP/1.1\r\n', 'POST ', 7, null, {}].map((method) => [{ url: URL_OK, method }, /"method" is not one of/]),
    ...['Host', 'host', 'Content-Length', 'TRANSFER-ENCODING', 'Connection', 'Upgrade', 'TE', 'Trailer', 'Expect', 'Keep-Alive', 'Proxy-Authorization',
      'Idempotency-Key', 'Accept-Encoding'].map((name) => [{ url: URL_OK, headers: { [name]: 'x' } }, /set by the sender/]),
    ...['', ' ', 'a b', 'a:', 'a\r\nb', 'a\n', 'é', '\u0000', 'a\u000b', 'host '].map((name) => [{ url: URL_OK, headers: { [name]: 'x' } }, /not have a valid name/]),
    ...['a\r\nb: c', 'a\n', '\u0000', 'a\u007f', 'ü€', '\ud800', 7, true, null, {}, ['a']].map((value) => [{ url: URL_OK, headers: { a: value } }, /value of the header "a"/]),
    [{ url: URL_OK, headers: [] }, /"headers" is not an object/], [{ url: URL_OK, headers: 'a: b' }, /"headers" is not an object/],
    [{ url: URL_OK, headers: { a: 'x', A: 'y' } }, /given twice/],
    [{ url: URL_OK, headers: { a: 'x'.repeat(20000) } }, /headers, or more/],
    [{ url: URL_OK, headers: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`a${i}`, ''])) }, /more than 64 headers/],
    [{ url: URL_OK, body: 'x'.repeat(10001) }, /more than 10000 bytes/], [{ url: URL_OK, body: 'é'.repeat(5001) }, /more than 10000 bytes/],
    [{ url: URL_OK, method: 'GET', body: 'x' }, /cannot be sent with GET/], [{ url: URL_OK, method: 'HEAD', body: {} }, /cannot be sent with HEAD/],
    ...[7, '409', {}, [409.5], ['409'], [100], [600], [null], Array(101).fill(200)].map((accept) => [{ url: URL_OK, accept }, /"accept"/]),
    ...['', 7, {}, [], 'x'.repeat(1001), 'é'.repeat(501)].map((reply) => [{ url: URL_OK, reply }, /"reply"/]),
  ]) {
    assert.throws(() => request(data), (error) => error instanceof Permanent && message.test(error.message), JSON.stringify(data)?.slice(0, 200));
  }
  assert.throws(() => requestOf({ log: null, position: '1', data: { url: URL_OK } }, SETTINGS), /not timers/);
  assert.equal(request('{"url": "https://api.test/", "headers": {"__proto__": "x"}, "__proto__": {"method": "TRACE"}}').headers[0][0], '__proto__');
});

test('the idempotency key', () => {
  assert.equal(idempotencyKey({ log: 'travel.outbox', position: '9007199254740993' }), 'travel.outbox/9007199254740993');
  assert.equal(idempotencyKey({ log: '"a/b\r\nX: é"', position: '1' }), '%22a%2Fb%0D%0AX%3A%20%C3%A9%22/1');
  assert.ok(request({ url: URL_OK }, { keyPrefix: 'prod:' }).headers.some(([name, value]) => name === 'Idempotency-Key' && value === 'prod:outbox/7'));
});

test('secrets go to their origin only, and win', () => {
  const secrets = new Map([['https://api.test', [['Authorization', 'Bearer s']]]]);
  const authorization = (url) => request({ url, headers: { authorization: 'mine' } }, { secrets, hosts: new Hosts(['*:*']) })
    .headers.filter(([name]) => /^authorization$/i.test(name)).map(([, value]) => value);

  assert.deepEqual(authorization('https://api.test/x'), ['Bearer s']);
  for (const url of ['http://api.test/', 'https://api.test:8443/', 'https://x.api.test/']) assert.deepEqual(authorization(url), ['mine'], url);
});

// What arrives, byte by byte, is one request.
test('on the wire', async (t) => {
  const seen = [];
  const server = http.createServer((incoming, response) => {
    let body = '';
    incoming.on('data', (chunk) => { body += chunk; });
    incoming.on('end', () => { seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers, body }); response.end(); });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address();

  for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']) {
    const body = method === 'GET' || method === 'HEAD' ? undefined : { text: 'ä\r\n\r\nGET / HTTP/1.1' };
    await call(request({ url: `http://127.0.0.1:${port}/a%0d%0ab/ä?q=${encodeURIComponent('\r\n')}#frag`, method, body, headers: { 'X-Latin': '\u00e9', __proto__: 'x' } }),
      { timeout: 5000, maxAnswer: 1000, networks: new Networks(['127.0.0.1']) });
    const got = seen.pop();

    assert.equal(seen.length, 0, 'one request');
    assert.equal(got.method, method);
    assert.equal(got.url, '/a%0d%0ab/%C3%A4?q=%0D%0A');
    assert.equal(got.body, body === undefined ? '' : JSON.stringify(body));
    assert.equal(got.headers.host, `127.0.0.1:${port}`);
    assert.equal(got.headers['idempotency-key'], 'outbox/7');
    assert.equal(got.headers['x-latin'], '\u00e9');
    assert.equal(got.headers.connection, 'close');
    assert.equal(got.headers['transfer-encoding'], undefined);
  }
});

test('settings', () => {
  assert.throws(() => settingsOf({}), /PM_SENDER_HOSTS must name/);
  assert.throws(() => settingsOf({ PM_SENDER_HOSTS: 'https://x.test' }), /PM_SENDER_HOSTS: not a host/);
  const hosts = { PM_SENDER_HOSTS: 'x.test, *.y.test:8443' };
  assert.equal(settingsOf(hosts).timeout, 10000);
  assert.equal(settingsOf({ ...hosts, PM_SENDER_TIMEOUT: '' }).timeout, 10000);
  for (const [name, value] of [['PM_SENDER_TIMEOUT', '0'], ['PM_SENDER_TIMEOUT', '10s'], ['PM_SENDER_CONCURRENCY', '-1'], ['PM_SENDER_BATCH', '20000'],
    ['PM_SENDER_NETWORKS', '10.0.0.0/40'], ['PM_SENDER_KEY_PREFIX', 'a\nb'], ['PM_SENDER_SECRETS', '/nowhere']]) {
    assert.throws(() => settingsOf({ ...hosts, [name]: value }), new RegExp(name), `${name}=${value}`);
  }
});
