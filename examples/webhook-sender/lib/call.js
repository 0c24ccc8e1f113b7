// One call: connects to an address that was checked, sends the request, and reads the answer, within one time limit.
// Redirects are not followed.
import http from 'node:http';
import https from 'node:https';
import { addressesOf } from './address.js';

// request: as requestOf returns it. Returns { status, headers, body (a Buffer; null if it is larger than maxAnswer) }.
// Any error but a Permanent one comes from the network or the called server, and can be retried.
export async function call(request, { timeout, maxAnswer, networks, lookup }) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new Error(`no answer within ${timeout} ms`)), timeout);

  try {
    const host = request.url.hostname.replace(/^\[|\]$/g, '');
    const addresses = await abortable(addressesOf(host, { networks, lookup }), limit.signal);

    return await exchange(request, host, addresses, { timeout, maxAnswer, signal: limit.signal });
  } catch (error) {
    throw limit.signal.aborted ? limit.signal.reason : error;
  } finally {
    clearTimeout(timer);
    limit.abort();
  }
}

// A lookup cannot be canceled, but nobody needs to wait for it.
function abortable(promise, signal) {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}

function exchange({ url, method, headers, body }, host, addresses, { timeout, maxAnswer, signal }) {
  return new Promise((resolve, reject) => {
    const call = (url.protocol === 'https:' ? https : http).request({
      protocol: url.protocol,
      host,
      port: url.port || undefined,
      path: url.pathname + url.search,
      method,
      // A connection of its own, so that surplus data from a server is not taken for the next answer.
      agent: false,
      // Not called if the host is an address.
      lookup: (_, options, done) => (options.all ? done(null, addresses) : done(null, addresses[0].address, addresses[0].family)),
      // If one address does not answer, there is time for the next.
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: Math.max(10, Math.floor(timeout / (addresses.length + 1))),
      // Even if NODE_TLS_REJECT_UNAUTHORIZED is 0.
      rejectUnauthorized: true,
      insecureHTTPParser: false,
      maxHeaderSize: 16384,
      signal,
    });

    for (const [name, value] of headers) call.setHeader(name, value);
    call.on('error', reject);
    // After an answer, this changes nothing.
    call.on('close', () => reject(new Error('the connection was closed before the answer was complete')));
    call.on('upgrade', (answer, socket) => {
      socket.destroy();
      resolve({ status: answer.statusCode, headers: answer.headers, body: null });
    });
    call.on('response', (answer) => {
      const chunks = [];
      let bytes = 0;

      answer.on('error', reject);
      answer.on('data', (chunk) => {
        bytes += chunk.length;
        if (bytes > maxAnswer) {
          resolve({ status: answer.statusCode, headers: answer.headers, body: null });
          call.destroy();
        } else {
          chunks.push(chunk);
        }
      });
      // Not emitted if the connection breaks before.
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks) }));
    });
    call.end(body ?? undefined);
  });
}
