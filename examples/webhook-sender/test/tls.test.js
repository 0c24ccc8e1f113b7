// Certificates are checked, against the name in the URL, whatever the environment says.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

// Of secure.test, signed by itself; for this test only.
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPY7UiY1KY+8D0Jd4
KK7I6Z2lavdf5gAuILxgeNSjYrGhRANCAATNHMedOIrx8Me13BZraVg5BeVQqWr9
Lg2AzGJTTT4v3wGfdgKa5+rrf33kwnSL4O3+e0QvrHgENcuivHo/rTM7
-----END PRIVATE KEY-----`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBZzCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDDAtzZWN1cmUu
dGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFjEUMBIGA1UE
AwwLc2VjdXJlLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATNHMedOIrx
8Me13BZraVg5BeVQqWr9Lg2AzGJTTT4v3wGfdgKa5+rrf33kwnSL4O3+e0QvrHgE
NcuivHo/rTM7o0owSDAWBgNVHREEDzANggtzZWN1cmUudGVzdDAPBgNVHRMBAf8E
BTADAQH/MB0GA1UdDgQWBBRnxxWoMYDV1AovwXfEAYQ/0ZeGozAKBggqhkjOPQQD
AgNIADBFAiAZAzjKL9YL9n6urqxrY0AdokOOYGrgskli8PpRzWRsDAIhAMyHjBGj
OxiFesWw6yCoqU3HNLXBtkYOfxmTW+74qAD2
-----END CERTIFICATE-----`;

const PROGRAM = `
  const lib = process.argv[1];
  const [{ Networks }, { call }, { Hosts }, { requestOf }] =
    await Promise.all(['address', 'call', 'hosts', 'request'].map((name) => import(lib + '/' + name + '.js')));
  const request = requestOf({ log: 'outbox', position: '1', data: { url: process.argv[2], method: 'GET' } }, { hosts: new Hosts(['*:*']), maxBody: 0 });
  const settings = { timeout: 20000, maxAnswer: 1000, networks: new Networks(['127.0.0.1']), lookup: async () => [{ address: '127.0.0.1', family: 4 }] };

  console.log(await call(request, settings).then(({ status, body }) => status + ' ' + body, (error) => error.code));
`;

test('certificates', { timeout: 60000 }, async (t) => {
  const reached = [];
  const server = https.createServer({ key: KEY, cert: CERTIFICATE }, (request, response) => { reached.push(request.headers.host); response.end('hello'); });
  const directory = mkdtempSync(path.join(os.tmpdir(), 'sender-'));
  const trusted = path.join(directory, 'certificate.pem');

  writeFileSync(trusted, CERTIFICATE);
  server.on('tlsClientError', () => {});
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  const { port } = server.address();
  const attempt = async (host, environment) => {
    const { stdout } = await promisify(execFile)(process.execPath,
      ['--no-warnings', '--input-type=module', '-e', PROGRAM, fileURLToPath(new URL('../lib', import.meta.url)), `https://${host}:${port}/`],
      { env: { PATH: process.env.PATH, ...environment } });

    return stdout.trim();
  };

  assert.equal(await attempt('secure.test', {}), 'DEPTH_ZERO_SELF_SIGNED_CERT');
  assert.equal(await attempt('secure.test', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }), 'DEPTH_ZERO_SELF_SIGNED_CERT');
  assert.equal(await attempt('other.test', { NODE_EXTRA_CA_CERTS: trusted }), 'ERR_TLS_CERT_ALTNAME_INVALID');
  assert.deepEqual(reached, []);
  assert.equal(await attempt('secure.test', { NODE_EXTRA_CA_CERTS: trusted }), '200 hello');
  assert.deepEqual(reached, [`secure.test:${port}`]);
});
