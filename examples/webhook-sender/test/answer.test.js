// What follows from what the other side does: answers, failures, and servers that misbehave.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import test from 'node:test';
import { Networks } from '../lib/address.js';
import { call } from '../lib/call.js';
import { Hosts } from '../lib/hosts.js';
import { fitsJsonb } from '../lib/json.js';
import { outcomeOf, outcomeOfError, retryAfter } from '../lib/outcome.js';
import { Permanent } from '../lib/permanent.js';
import { requestOf } from '../lib/request.js';

const EVENT = { log: 'outbox', position: '7', stream: 's', type: 'T' };
const OPTIONS = { maxRetryAfter: 3600000 };
const requestTo = (url, data) => requestOf({ ...EVENT, data: { url, ...data } }, { hosts: new Hosts(['*:*']), maxBody: 1000 });
const outcome = (status, headers = {}, body = '', data = {}) =>
  outcomeOf(EVENT, requestTo('https://api.test/x?token=secret', data), { status, headers, body: body === null ? null : Buffer.from(body) }, OPTIONS);

test('each kind of answer', () => {
  for (const status of [200, 201, 202, 204, 299]) assert.equal(JSON.parse(outcome(status).answer).status, status);
  for (const status of [408, 425, 429, 500, 502, 503, 504, 599]) assert.deepEqual([outcome(status).permanent, outcome(status).retryIn], [false, null], status);
  for (const status of [101, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 409, 410, 418, 422, 451, 499, 600, 999]) assert.equal(outcome(status).permanent, true, status);
  assert.match(outcome(302, { location: 'http://127.0.0.1/' }).error, /302 \(redirects are not followed\)/);
  assert.equal(outcome(400, {}, 'no such\r\nroom\0').error, 'POST https://api.test/x was answered with 400: no such room\ufffd');
  assert.ok(outcome(400, {}, 'x'.repeat(100000)).error.length < 600);
  assert.deepEqual(JSON.parse(outcome(409, {}, 'full', { accept: [409] }).answer), { event: { log: 'outbox', position: 7, stream: 's', type: 'T' }, status: 409, body: 'full' });
  assert.equal(JSON.parse(outcome(302, { location: '/a' }, '', { accept: [302] }).answer).location, '/a');
  assert.equal(outcome(503, { 'retry-after': '120' }).retryIn, 120000);
  assert.match(outcomeOf({ ...EVENT, position: '9007199254740993' }, requestTo('https://api.test/'), { status: 200, headers: {}, body: null }, OPTIONS).answer,
    /"position":9007199254740993,/);
});

test('Retry-After', () => {
  const now = Date.parse('2026-11-06T08:49:37Z');

  for (const [header, expected] of [['1', 1000], ['3600', 3600000], [' 5 ', 5000], ['99999999999999999999', 3600000], ['7200', 3600000],
    ['Fri, 06 Nov 2026 08:50:07 GMT', 30000], ['Friday, 06-Nov-26 08:50:07 GMT', 30000], ['Fri Nov  6 08:50:07 2026', 30000], ['Fri, 06 Nov 2099 08:50:07 GMT', 3600000],
    ['0', null], ['-1', null], ['1.5', null], ['1e9', null], ['', null], ['soon', null], ['0x10', null], ['Infinity', null], ['NaN', null], ['Fri, 06 Nov 2026 08:49:07 GMT', null],
    ['Sun, 06 Nov 1994 08:49:37 GMT', null], ['Fri, 99 Foo 2026 08:50:07 GMT', null], ['2026-11-06T08:50:07Z', null], ['120, 60', null], [undefined, null]]) {
    assert.equal(retryAfter(header, 3600000, now), expected, header);
  }
  assert.equal(retryAfter('5', 0, now), null, 'a limit of 0: as if there were none');
});

test('what a body becomes', () => {
  const body = (text, type = 'application/json') => outcome(200, { 'content-type': type }, text).answer.replace(/^.*?"body":/s, '').slice(0, -1);

  assert.equal(body('{"id": 12345678901234567890}'), '{"id": 12345678901234567890}', 'exactly');
  assert.equal(body('[1]', 'application/problem+json; charset=utf-8'), '[1]');
  assert.equal(body('\ufeff{}'), '{}');
  assert.equal(body(''), 'null');
  assert.equal(body('{"a": }'), '"{\\"a\\": }"', 'what is not JSON is a string');
  assert.equal(body('{} {}'), '"{} {}"');
  assert.equal(body('{}', 'text/html'), '"{}"');
  assert.equal(body('"\\u0000"'), '"\\"\\\\u0000\\""', 'what jsonb cannot have is a string');
  assert.equal(body('"\\ud800"'), '"\\"\\\\ud800\\""');
  assert.equal(body('1e400'), '1e400');
  assert.equal(body('1e99999'), '"1e99999"');
  assert.equal(body('a\0b', 'text/plain'), '"a\ufffdb"');
  assert.equal(body(Buffer.from([0xff, 0x41]), 'text/plain'), '"\ufffdA"');
  assert.equal(fitsJsonb('['.repeat(1000) + ']'.repeat(1000)), false);
  assert.equal(fitsJsonb('"\ud83d\ude00"'), true);
  for (const text of ['"\\ud83d\\ude00"', '"\\uD83D\\uDE00\\\\u0000 \\n"', '"\\\\ud83d"']) assert.equal(fitsJsonb(text), true, text);
  for (const text of ['"\\ud83d"', '"\\ude00\\ud83d"', '"\\ud83d \\ude00"', '"\\\\\\u0000"']) assert.equal(fitsJsonb(text), false, text);
  assert.equal(body('{"a": [1e-5, 2E+10, true, false, null, 0.5e3, "e1234567", "1e9999"]}'), '{"a": [1e-5, 2E+10, true, false, null, 0.5e3, "e1234567", "1e9999"]}');
  for (const text of ['1e1000', '[1E+0001]', '{"a": 1e-99999}', '1'.repeat(10001), `["\\\\", ${'1'.repeat(10001)}]`]) assert.equal(fitsJsonb(text), false, text.slice(0, 20));
  assert.equal(fitsJsonb('["\\\\", "\\"[[1e9999"]'), true, 'what is in strings does not count');
  // In one pass.
  for (const text of [`"${'\\"'.repeat(2e6)}"`, `"${'\\\\'.repeat(2e6)}"`, '9'.repeat(4e6), `${'9'.repeat(9999)} `.repeat(400), '['.repeat(4e6), '"'.repeat(4e6)]) {
    const began = Date.now();

    fitsJsonb(text);
    assert.ok(Date.now() - began < 10000, text.slice(0, 10));
  }
  assert.equal(JSON.parse(outcome(200, {}, null).answer).too_large, true);
});

test('errors', () => {
  const request = requestTo('https://api.test/x?token=secret');

  assert.deepEqual(outcomeOfError(request, new Error('x')), { error: 'POST https://api.test/x: x', permanent: false, retryIn: null });
  assert.equal(outcomeOfError(null, new Permanent('x')).permanent, true);
  assert.equal(outcomeOfError(null, new Permanent('x'.repeat(10000))).error.length, 500);
  assert.equal(outcomeOfError(null, Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' })).error, 'ECONNREFUSED');
});

// A server that sends arbitrary bytes.
test('servers that misbehave', async (t) => {
  let write;
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.once('data', () => write(socket));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => { sockets.forEach((socket) => socket.destroy()); server.close(); });
  const request = requestTo(`http://127.0.0.1:${server.address().port}/`);
  const attempt = (text, { timeout = 5000, end = true } = {}) => {
    write = typeof text === 'function' ? text : (socket) => { socket.write(text); if (end) socket.end(); };
    return call(request, { timeout, maxAnswer: 1000, networks: new Networks(['127.0.0.1']) });
  };

  assert.equal((await attempt('HTTP/1.1 200 OK\r\n\r\nhello')).body.toString(), 'hello');
  assert.equal((await attempt('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 X\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n')).status, 204);
  assert.equal((await attempt(`HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n${'x'.repeat(1001)}`)).body, null, 'too large');
  assert.equal((await attempt((socket) => {
    const more = () => socket.writable && socket.write('x'.repeat(65536), more);
    socket.write('HTTP/1.1 200 OK\r\n\r\n', more);
  })).body, null, 'without an end');
  assert.equal((await attempt('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', { end: false })).status, 101);
  assert.equal((await attempt('HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n')).status, 302);
  for (const text of ['', 'nonsense', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20000)}\r\n\r\n`, 'HTTP/1.1 100 Continue\r\n\r\n']) {
    await assert.rejects(attempt(text), (error) => !(error instanceof Permanent), text.slice(0, 40));
  }
  await assert.rejects(attempt((socket) => socket.resetAndDestroy?.() ?? socket.destroy()));

  // The limit is for all of it: nothing, a body that comes drop by drop, headers drop by drop, what is not an answer.
  for (const start of ['', 'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n', 'HTTP/1.1 200 OK\r\nX: ', 'HTTP/1.1 100 Continue\r\n\r\n']) {
    const began = Date.now();

    await assert.rejects(attempt((socket) => {
      socket.write(start);
      const timer = setInterval(() => socket.write(start.includes('100') ? start : start === '' ? '' : 'x'), 20);
      socket.on('close', () => clearInterval(timer));
    }, { timeout: 300 }), /no answer within 300 ms/);
    assert.ok(Date.now() - began >= 290);
  }
  await assert.rejects(call(request, { timeout: 100, maxAnswer: 1, networks: new Networks([]), lookup: () => new Promise(() => {}) }), Permanent);
  await assert.rejects(call(requestTo('http://slow.test/'), { timeout: 100, maxAnswer: 1, networks: new Networks([]), lookup: () => new Promise(() => {}) }), /no answer within 100 ms/);
});
