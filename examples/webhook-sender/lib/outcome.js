// What follows from an answer, or from an error.
import { Permanent } from './permanent.js';
import { cleanText, fitsJsonb } from './json.js';

const RETRIED = new Set([408, 425, 429]);

// Returns one of
//   { answer: data of the event that goes back }
//   { error: message, permanent: true }
//   { error: message, permanent: false, retryIn: milliseconds, or null: the policy's delay }
export function outcomeOf(event, request, answer, { maxRetryAfter, now = Date.now() }) {
  const { status } = answer;

  if ((status >= 200 && status <= 299) || request.accept.includes(status)) return { answer: replyData(event, answer) };

  const error = `${request.method} ${shown(request.url)} was answered with ${status}${excerpt(answer)}`;

  if (RETRIED.has(status) || (status >= 500 && status <= 599)) {
    return { error, permanent: false, retryIn: retryAfter(answer.headers['retry-after'], maxRetryAfter, now) };
  }
  return { error: status >= 300 && status <= 399 ? `${error} (redirects are not followed)` : error, permanent: true };
}

export function outcomeOfError(request, error) {
  const message = cleanText(error.message || error.code || String(error)).slice(0, 500);

  return {
    error: request === null ? message : `${request.method} ${shown(request.url)}: ${message}`,
    permanent: error instanceof Permanent,
    retryIn: null,
  };
}

// Without the query, where tokens are.
function shown(url) {
  return (url.origin + url.pathname).slice(0, 300);
}

function excerpt({ body }) {
  const text = body === null ? '' : cleanText(body.toString('utf8', 0, 400)).replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();

  return text === '' ? '' : `: ${text.slice(0, 200)}`;
}

// Milliseconds from a header Retry-After (seconds, or a date in one of HTTP's three forms), or null if there is none, or
// none in the future.
export function retryAfter(header, max, now) {
  let wait = NaN;

  if (header === undefined) return null;
  header = header.trim();
  if (/^\d{1,20}$/.test(header)) {
    wait = Number(header) * 1000;
  } else if (/^[a-z]{3,9}, \d\d[ -][a-z]{3}[ -](\d{4}|\d\d) \d\d:\d\d:\d\d GMT$/i.test(header)) {
    wait = Date.parse(header) - now;
  } else if (/^[a-z]{3} [a-z]{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/i.test(header)) {
    wait = Date.parse(`${header} GMT`) - now;
  }
  return wait > 0 && max > 0 ? Math.min(wait, max) : null;
}

// The event that goes back to the instance, as JSON text.
function replyData(event, answer) {
  const { log, position, stream, type } = event;
  const head = { event: { log, position: null, stream, type }, status: answer.status };
  const contentType = answer.headers['content-type'];

  if (contentType !== undefined) head.content_type = cleanText(contentType).slice(0, 200);
  if (answer.headers.location !== undefined) head.location = cleanText(answer.headers.location).slice(0, 2000);
  if (answer.body === null) head.too_large = true;
  // The position is a bigint.
  const text = JSON.stringify(head).replace('"position":null', () => `"position":${position}`);

  return `${text.slice(0, -1)},"body":${bodyText(answer, contentType)}}`;
}

// JSON as it came; anything else as a string; nothing as null.
function bodyText({ body }, contentType = '') {
  if (body === null || body.length === 0) return 'null';

  const text = body.toString('utf8').replace(/^\ufeff/, '');

  if (/^application\/([\w.+-]*\+)?json\b/i.test(contentType) && fitsJsonb(text)) {
    try {
      JSON.parse(text);
      return text;
    } catch {
      // The content type says JSON, but the body is not.
    }
  }
  return JSON.stringify(cleanText(text));
}
