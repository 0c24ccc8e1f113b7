// Which addresses are public, in every spelling, and that a call goes where the check was.
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import { addressNumber, addressesOf, isPublic, Networks } from '../lib/address.js';
import { call } from '../lib/call.js';
import { Hosts } from '../lib/hosts.js';
import { Permanent } from '../lib/permanent.js';
import { requestOf } from '../lib/request.js';

const NONE = new Networks([]);

test('addresses that are public, and others', () => {
  for (const address of ['1.1.1.1', '8.8.8.8', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '172.15.255.255',
    '172.32.0.0', '192.167.255.255', '192.169.0.0', '223.255.255.255', '2606:4700::1', '2a00:1450:4001:800::200e',
    '::ffff:8.8.8.8', '::ffff:808:808', '64:ff9b::8.8.8.8', '2001:200::1']) {
    assert.equal(isPublic(addressNumber(address)), true, address);
  }
  for (const address of ['0.0.0.0', '0.1.2.3', '10.0.0.1', '10.255.255.255', '100.64.0.1', '100.127.255.255', '127.0.0.1', '127.255.255.254',
    '169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.170', '192.0.2.1', '192.88.99.1', '192.168.1.1', '198.18.0.1',
    '198.19.255.255', '198.51.100.1', '203.0.113.9', '224.0.0.1', '239.1.2.3', '240.0.0.1', '255.255.255.255',
    '::', '::1', '::7f00:1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:ffff:a9fe:a9fe', '::ffff:10.0.0.1',
    '::ffff:0:127.0.0.1', '64:ff9b::127.0.0.1', '64:ff9b::a00:1', '64:ff9b:1::1', '100::1', 'fc00::1', 'fd12:3456::1', 'fe80::1', 'fe80::1%eth0',
    'fec0::1', 'ff02::1', '2001::1', '2001:db8::1', '2002:7f00:1::', '3fff::1', '5f00::1', '4000::1']) {
    assert.equal(isPublic(addressNumber(address)), false, address);
  }
  for (const text of ['', 'x', '1.2.3', '1.2.3.4.5', '::1::', '1:2', '2130706433', '0x7f.1']) assert.equal(addressNumber(text), null, text);
});

test('networks', () => {
  const networks = new Networks(['10.1.0.0/16', '127.0.0.1', 'fd00::/8', '::1/128']);

  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '127.0.0.1', 'fd12::1', '::1']) assert.equal(networks.has(addressNumber(address)), true, address);
  for (const address of ['10.2.0.0', '127.0.0.2', 'fe80::1', '::2']) assert.equal(networks.has(addressNumber(address)), false, address);
  assert.equal(new Networks(['0.0.0.0/0']).has(addressNumber('1.2.3.4')), true);
  assert.equal(new Networks(['0.0.0.0/0']).has(addressNumber('::1')), false);
  for (const text of ['10.0.0.0/33', 'host', '10.0.0/8', '::/129', '10.0.0.0/', '10.0.0.0/-1']) assert.throws(() => new Networks([text]), /not a network/);
});

test('hosts', () => {
  const hosts = new Hosts(['Api.Example.com', '*.example.org', 'local.test:8080', 'any.test:*', '[0:0::1]:81', '10.0.0.1']);

  for (const [host, port] of [['api.example.com', 443], ['API.example.com.', 80], ['a.example.org', 443], ['a.b.example.org', 80], ['local.test', 8080],
    ['any.test', 1], ['[::1]', 81], ['10.0.0.1', 443]]) {
    assert.equal(hosts.allows(host, port), true, `${host}:${port}`);
  }
  for (const [host, port] of [['api.example.com', 8443], ['example.org', 443], ['xexample.org', 443], ['local.test', 443], ['example.com', 443], ['[::1]', 443],
    ['api.example.com.evil.test', 443], ['10.0.0.10', 443]]) {
    assert.equal(hosts.allows(host, port), false, `${host}:${port}`);
  }
  assert.equal(new Hosts(['*']).allows('127.0.0.1', 443), true, 'a host; whether its address may be called is another question');
  assert.equal(new Hosts(['*']).allows('x.test', 25), false);
  assert.equal(new Hosts(['*.0.0.1']).allows('127.0.0.1', 80), false);
  for (const text of ['https://x.test', 'x.test/', 'x.test:port', 'a b', '*x.test', '', '-', 'x..']) assert.throws(() => new Hosts([text]), undefined, text);
});

test('a host whose name leads to an address that is not public', async () => {
  const lookup = (...addresses) => async () => addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

  await assert.rejects(addressesOf('x.test', { networks: NONE, lookup: lookup('10.0.0.1') }), /10\.0\.0\.1 of x\.test is not public/);
  await assert.rejects(addressesOf('x.test', { networks: NONE, lookup: lookup('8.8.8.8', '::1') }), Permanent, 'one of two is enough');
  await assert.rejects(addressesOf('x.test', { networks: NONE, lookup: lookup('fe80::1%lo') }), Permanent);
  await assert.rejects(addressesOf('x.test', { networks: NONE, lookup: lookup('nonsense') }), Permanent);
  await assert.rejects(addressesOf('x.test', { networks: NONE, lookup: lookup() }), /has no address/);
  await assert.rejects(addressesOf('localhost', { networks: NONE }), Permanent);
  assert.deepEqual(await addressesOf('x.test', { networks: NONE, lookup: lookup('8.8.8.8') }), [{ address: '8.8.8.8', family: 4 }]);
  assert.deepEqual(await addressesOf('x.test', { networks: new Networks(['10.0.0.0/8']), lookup: lookup('10.9.8.7') }), [{ address: '10.9.8.7', family: 4 }]);
});

// Each of these is 127.0.0.1, ::1 or 0.0.0.0, where a server listens that must not be reached.
test('no spelling of an address reaches a server on loopback', async (t) => {
  let reached = 0;
  const server = http.createServer((_, response) => { reached++; response.end(); });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address();
  const request = (host) => requestOf({ log: 'outbox', position: '1', data: { url: `http://${host}:${port}/`, method: 'GET' } },
    { hosts: new Hosts(['*:*']), maxBody: 1000 });
  const settings = { timeout: 5000, maxAnswer: 1000, networks: NONE };

  for (const host of ['127.0.0.1', '127.1', '2130706433', '0x7f000001', '0x7f.0.0.1', '0177.0.0.1', '017700000001', '127.0.0.1.', '127.0.1',
    '0', '0.0.0.0', '0x0', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:ffff:127.0.0.1]', '[::127.0.0.1]', '１２７.０.０.１',
    '127。0。0。1', '%31%32%37.0.0.1', 'localhost', 'LOCALHOST', '127.255.255.254']) {
    await assert.rejects(call(request(host), settings), Permanent, host);
  }
  await assert.rejects(call(request('localhost.'), settings), 'not every resolver knows it');
  assert.equal(reached, 0);
  assert.equal((await call(request('127.1'), { ...settings, networks: new Networks(['127.0.0.0/8']) })).status, 200);
  assert.equal(reached, 1);
});

test('a name server that answers otherwise the second time (DNS rebinding)', async (t) => {
  const reached = [];
  const listen = (address, port) => new Promise((resolve) => {
    const server = http.createServer((_, response) => { reached.push(address); response.end(); });
    server.listen(port, address, () => resolve(server));
    t.after(() => server.close());
  });
  const first = await listen('127.0.0.2', 0);
  const { port } = first.address();
  await listen('127.0.0.1', port);
  let asked = 0;
  const lookup = async () => [{ address: asked++ === 0 ? '127.0.0.2' : '127.0.0.1', family: 4 }];
  const settings = { timeout: 5000, maxAnswer: 1000, networks: new Networks(['127.0.0.2']), lookup };
  const request = requestOf({ log: 'outbox', position: '1', data: { url: `http://rebound.test:${port}/` } }, { hosts: new Hosts(['rebound.test:*']), maxBody: 1000 });

  assert.equal((await call(request, settings)).status, 200);
  assert.deepEqual([reached, asked], [['127.0.0.2'], 1], 'the address that was judged is the one that was called');
  await assert.rejects(call(request, settings), Permanent);
  assert.deepEqual(reached, ['127.0.0.2']);
});
