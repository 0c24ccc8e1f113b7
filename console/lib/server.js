// The HTTP server: files, the exchange of the token, and the requests of the page (/api/...).
import { createServer } from 'node:http';
import { loadFiles } from './files.js';
import { Guard } from './guard.js';
import { isConnectionLost } from './database.js';
import { routes } from './routes.js';

const bodyLimit = 1024 * 1024;

/** An answer that reports an error. The page shows message, detail and hint. */
class Refusal extends Error {
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

function headers(importMapHash) {
  return {
    // Graphviz is WebAssembly: it is compiled from our own file, and nothing else is.
    'Content-Security-Policy': [
      "default-src 'none'",
      `script-src 'self' 'wasm-unsafe-eval' ${importMapHash}`,
      "worker-src 'self'",
      "style-src 'self'",
      "img-src 'self'",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
      'trusted-types pm-console',
    ].join('; '),
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Embedder-Policy': 'require-corp',
    'Permissions-Policy': 'clipboard-write=(self), camera=(), geolocation=(), microphone=()',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Cache-Control': 'no-store',
  };
}

async function readBody(request) {
  if (!/^application\/json(;|$)/u.test(request.headers['content-type'] ?? '')) {
    throw new Refusal(415, 'request', 'the request must be application/json');
  }
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > bodyLimit) throw new Refusal(413, 'request', 'the request is longer than 1 MB');
    parts.push(part);
  }
  try {
    const value = JSON.parse(Buffer.concat(parts).toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // falls through
  }
  throw new Refusal(400, 'request', 'the request is not a JSON object');
}

/** Status and content of the answer to an error. */
function explain(error) {
  const { message, detail, hint, code } = error;
  if (error instanceof Refusal) return [error.status, { kind: error.kind, message }];
  if (isConnectionLost(error)) {
    return [503, { kind: 'connection', message: message || code, code, unknown: error.begun === true }];
  }
  // Errors of the server have a severity.
  if (error.severity) return [error.code === '42501' ? 403 : 422, { kind: 'database', message, detail, hint, code }];
  if (error.status) return [error.status, { kind: 'request', message }];
  console.error(error);
  return [500, { kind: 'console', message: `the console has failed: ${message}` }];
}

export function createConsole(database) {
  const guard = new Guard();
  const { files, importMapHash } = loadFiles();
  const common = headers(importMapHash);
  const handlers = routes(database);

  function send(response, status, body, type = 'application/json; charset=utf-8', more = {}) {
    response.writeHead(status, { ...common, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...more });
    response.end(response.req.method === 'HEAD' ? undefined : body);
  }

  async function answer(request, response) {
    const url = new URL(request.url, 'http://console');
    const path = url.pathname;

    const file = request.method === 'GET' ? files.get(path) : undefined;
    if (file) {
      const refusal = guard.refusal(request);
      if (refusal) throw new Refusal(403, 'origin', refusal);
      // They contain no data: whoever has no session sees an empty page.
      return send(response, 200, file.body, file.type);
    }

    const refusal = guard.refusalOfScript(request);
    if (refusal) throw new Refusal(403, 'origin', refusal);

    if (path === '/session' && request.method === 'POST') {
      const session = guard.exchange(request, (await readBody(request)).token);
      if (!session) throw new Refusal(401, 'session', 'the token is not that of this console');
      return send(response, 200, JSON.stringify({ key: session.key }), undefined, { 'Set-Cookie': session.cookie });
    }

    const handler = handlers[`${request.method} ${path}`];
    if (!handler) throw new Refusal(404, 'request', 'there is nothing at this address');
    if (!guard.isKnown(request)) throw new Refusal(401, 'session', 'open the address that the console has printed');

    const given = request.method === 'POST' ? await readBody(request) : Object.fromEntries(url.searchParams);
    return send(response, 200, JSON.stringify(await handler(given)));
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      const [status, content] = explain(error);
      if (response.headersSent) response.destroy();
      // What is left of a body that was not read is not taken for another request.
      else send(response, status, JSON.stringify({ error: content }), undefined, { Connection: 'close' });
    });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 20_000;
  return { server, secrets: guard.secrets };
}
