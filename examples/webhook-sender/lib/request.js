// Makes the request of an event of the outbox. Whatever the event contains, the result is a request that says what the
// event says, or an error that no retry can help.
import { memberText } from './json.js';
import { Permanent } from './permanent.js';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
// Only the sender sets headers about the connection and the length of the body, and the idempotency key.
const NOT_FOR_EVENTS = new Set([
  'host', 'content-length', 'transfer-encoding', 'connection', 'keep-alive', 'te', 'trailer', 'upgrade', 'expect',
  'http2-settings', 'accept-encoding', 'idempotency-key',
]);
const MAX_URL = 8192;
const MAX_HEADERS = 64;
const MAX_HEADER_BYTES = 16384;

// event: { log, position, data }. Returns { url, method, headers (pairs of name and value), body, accept, reply }.
export function requestOf(event, { hosts, maxBody, keyPrefix = '', secrets = new Map() }) {
  const { data } = event;

  if (event.log === null || event.log === undefined) throw new Permanent('only events of a log are sent, not timers');
  if (!isObject(data)) throw new Permanent('the data of the event is not an object');

  const url = urlOf(data.url, hosts);
  const method = methodOf(data.method);
  const body = bodyOf(data, method, maxBody);
  const headers = headersOf(data.headers);

  for (const [name, value] of secrets.get(url.origin) ?? []) headers.set(name.toLowerCase(), [name, value]);
  if (body !== null && !headers.has('content-type')) {
    const type = typeof data.body === 'string' ? 'text/plain; charset=utf-8' : 'application/json';

    headers.set('content-type', ['Content-Type', type]);
  }
  if (!headers.has('user-agent')) headers.set('user-agent', ['User-Agent', 'pm-webhook-sender']);
  headers.set('idempotency-key', ['Idempotency-Key', keyPrefix + idempotencyKey(event)]);
  headers.set('accept-encoding', ['Accept-Encoding', 'identity']);
  // Without a body, requests with these methods have Content-Length 0, the others have none.
  if (body !== null || ['POST', 'PUT', 'PATCH'].includes(method)) {
    headers.set('content-length', ['Content-Length', String(body === null ? 0 : body.length)]);
  }
  return {
    url,
    method,
    headers: [...headers.values()],
    body,
    accept: acceptOf(data.accept),
    reply: replyOf(data.reply),
  };
}

// log/position. Of a log with an unusual name, all but letters, digits and _.~- is percent-encoded.
export function idempotencyKey({ log, position }) {
  const encoded = log.replace(/[^\w.~-]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''));

  return `${encoded}/${position}`;
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function urlOf(text, hosts) {
  let url;

  if (typeof text !== 'string') throw new Permanent('"url" is missing or is not a string');
  if (text.length > MAX_URL) throw new Permanent(`"url" is longer than ${MAX_URL} characters`);
  // The parser would silently drop line ends and tabs.
  if (/[\u0000-\u0020\u007f]/.test(text)) throw new Permanent('"url" has spaces or control characters');
  try {
    url = new URL(text);
  } catch {
    throw new Permanent('"url" is not a URL');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new Permanent('"url" begins with neither https: nor http:');
  }
  if (url.username !== '' || url.password !== '') {
    throw new Permanent('"url" has a user or a password; use the header Authorization');
  }

  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));

  if (!hosts.allows(url.hostname, port)) {
    throw new Permanent(`${url.hostname.slice(0, 300)}, port ${port}, is not in PM_SENDER_HOSTS`);
  }
  return url;
}

function methodOf(method = 'POST') {
  if (!METHODS.includes(method)) throw new Permanent(`"method" is not one of ${METHODS.join(', ')}`);
  return method;
}

function headersOf(headers) {
  const result = new Map();
  let bytes = 0;

  if (headers === undefined || headers === null) return result;
  if (!isObject(headers)) throw new Permanent('"headers" is not an object');
  for (const [name, value] of Object.entries(headers)) {
    const key = name.toLowerCase();
    const shown = JSON.stringify(name.slice(0, 50));

    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) throw new Permanent(`the header ${shown} does not have a valid name`);
    if (NOT_FOR_EVENTS.has(key) || key.startsWith('proxy-')) throw new Permanent(`the header ${shown} is set by the sender`);
    if (typeof value !== 'string' || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw new Permanent(`the value of the header ${shown} is not a string, or has characters that a header cannot have`);
    }
    if (result.has(key)) throw new Permanent(`the header ${shown} is given twice`);
    bytes += name.length + value.length + 4;
    if (result.size >= MAX_HEADERS || bytes > MAX_HEADER_BYTES) {
      throw new Permanent(`there are more than ${MAX_HEADERS} headers, or more than ${MAX_HEADER_BYTES} bytes of them`);
    }
    result.set(key, [name, value]);
  }
  return result;
}

function bodyOf(data, method, maxBody) {
  const { body } = data;

  if (body === undefined || body === null) return null;
  if (method === 'GET' || method === 'HEAD') throw new Permanent(`"body" cannot be sent with ${method}`);

  const bytes = Buffer.from(typeof body === 'string' ? body : memberText(data, 'body'));

  if (bytes.length > maxBody) throw new Permanent(`"body" has more than ${maxBody} bytes`);
  return bytes;
}

function acceptOf(accept = []) {
  const isStatus = (status) => Number.isInteger(status) && status >= 200 && status <= 599;

  if (!Array.isArray(accept) || accept.length > 100 || !accept.every(isStatus)) {
    throw new Permanent('"accept" is not an array of HTTP status codes');
  }
  return accept;
}

function replyOf(reply = null) {
  if (reply !== null && (typeof reply !== 'string' || reply === '' || Buffer.byteLength(reply) > 1000)) {
    throw new Permanent('"reply" is not a type of an event (a string of 1 to 1,000 bytes)');
  }
  return reply;
}
