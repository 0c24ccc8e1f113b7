// How values are shown. They come from events, so they may be anything: very long, written from right to left, full of
// characters that cannot be seen. Each stands alone (bdi), is cut, and shows what would be invisible.
import { html, useEffect, useState } from './html.js';

// Invisible characters, or characters that change how those around them are shown.
const unseen = String.raw`[\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0\u2800]`;
const invisible = new RegExp(String.raw`(${unseen}|\p{Cc})`, 'u');
const onLines = new RegExp(String.raw`(${unseen}|(?![\n\t])\p{Cc})`, 'u');
const inNames = new RegExp(String.raw`(^ | $|${unseen}|\p{Cc})`, 'u');

const codePoint = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`;

const split = (text, pattern) =>
  text
    .split(pattern)
    .map((part, n) => (n % 2 ? html`<span class="unseen" title="an invisible character">${codePoint(part)}</span>` : part));

/** A text as nodes: invisible characters are replaced by their code points; lines: except ends of lines and tabs. */
export const marked = (text, lines = false) => split(text, lines ? onLines : invisible);

/** A text of somebody else; lines: on several lines. After max characters there is a button for the rest. */
export function Text({ value, max = 160, length = value?.length, lines = false }) {
  const [whole, setWhole] = useState(false);
  if (value === null || value === undefined) return html`<span class="none">none</span>`;
  if (value === '') return html`<span class="none">empty</span>`;
  const shown = whole || value.length <= max ? value : value.slice(0, max).replace(/[\ud800-\udbff]$/u, '');
  const rest = Number(length) - shown.length;
  return html`<bdi class="text">${value.trim() === '' ? split(shown, inNames) : marked(shown, lines)}</bdi>${rest > 0 &&
    (shown.length < value.length
      ? html` <button type="button" class="more" onClick=${() => setWhole(true)}>… ${number(rest)} more</button>`
      : html` <span class="none">… ${number(rest)} more characters</span>`)}`;
}

/** The same, with links to what it is about: parts are texts, some of them with an address. */
export function Prose({ parts, max = 400 }) {
  const [whole, setWhole] = useState(false);
  let left = whole ? Infinity : max;
  let hidden = 0;
  const shown = [];
  for (const { text, href } of parts) {
    const cut = text.length <= left ? text : text.slice(0, left).replace(/[\ud800-\udbff]$/u, '');
    left -= cut.length;
    hidden += text.length - cut.length;
    if (cut !== '') shown.push(href ? html`<a href=${href}>${marked(cut)}</a>` : html`<span>${marked(cut)}</span>`);
  }
  return html`<bdi class="text">${shown}</bdi>${hidden > 0 && html` <button type="button" class="more" onClick=${() => setWhole(true)}>… ${number(hidden)} more</button>`}`;
}

/** A name: of a process manager, a log, a stream, a key, a type. */
export function Name({ value, max = 80 }) {
  if (value === null || value === undefined) return html`<span class="none">none</span>`;
  if (value === '') return html`<span class="none">empty</span>`;
  const cut = value.length > max ? `${value.slice(0, max - 12).replace(/[\ud800-\udbff]$/u, '')}…${value.slice(-10).replace(/^[\udc00-\udfff]/u, '')}` : value;
  return html`<bdi class="name" title=${cut === value ? undefined : value.slice(0, 2000)}>${split(cut, inNames)}</bdi>`;
}

// ---- JSON: text from the server, never parsed, so that no number changes

const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\b\d[\d.eE+-]*/gu;

function colored(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(token)) {
    nodes.push(...marked(text.slice(end, match.index), true));
    const [all, string, colon, word] = match;
    const kind = string ? (colon ? 'key' : 'string') : word ? 'word' : 'number';
    nodes.push(html`<span class=${`json-${kind}`}>${marked(string ?? all, true)}</span>`, colon ?? '');
    end = match.index + all.length;
  }
  nodes.push(...marked(text.slice(end), true));
  return nodes;
}

// The server sends this much of a value at most.
const sent = 20_000;
const atFirst = 4000;

export function Json({ value, size }) {
  const [whole, setWhole] = useState(false);
  if (value === null || value === undefined) {
    return html`<p class="none">${size ? `${bytes(size)} as stored: too large to be shown here` : 'none'}</p>`;
  }
  const shown = whole ? value : value.slice(0, atFirst);
  return html`<pre class="json" tabindex="0"><bdi>${colored(shown)}</bdi>${
    shown.length < value.length &&
    html`${'\n'}<button type="button" class="more" onClick=${() => setWhole(true)}>… more</button>`
  }${shown.length >= sent && html`${'\n'}<span class="none">… cut here; ${bytes(size)} as stored</span>`}</pre>`;
}

// ---- numbers

export function number(value) {
  if (value === null || value === undefined) return '–';
  const [whole, fraction] = String(value).split('.');
  return whole.replace(/\B(?=(\d{3})+(?!\d))/gu, ',') + (fraction ? `.${fraction}` : '');
}

export function rate(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0/s';
  if (value < 10) return `${value < 0.1 ? value.toFixed(2) : value.toFixed(1)}/s`;
  return `${number(Math.round(value))}/s`;
}

export function bytes(value) {
  const n = Number(value);
  if (n < 1000) return `${n} bytes`;
  return n < 1e6 ? `${(n / 1000).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return '–';
  if (value < 0.1) return `${Math.round(value * 1000)} µs`;
  if (value < 1000) return `${value < 10 ? value.toFixed(2) : Math.round(value)} ms`;
  return duration(value / 1000);
}

const year = 365.25 * 86400;

/** A number of seconds, in the two largest units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return '–';
  if (seconds < 0.0005) return '0 s';
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const two = (a, unit, b, smaller) => `${a} ${unit}${b ? ` ${b} ${smaller}` : ''}`;
  if (s < 3600) return two(Math.floor(s / 60), 'min', s % 60, 's');
  if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
  if (s >= 2 * year) return `${number(Math.round(s / year))} years`;
  return two(Math.floor(s / 86400), 'd', Math.floor((s % 86400) / 3600), 'h');
}

// ---- times: the server writes UTC, the page shows the reader's zone

/** A Date of what the server wrote, or null for what a Date cannot be: infinity, years before Christ. */
export function parseTime(text) {
  const match = /^(\d{4,6})-(\d\d)-(\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:\+00(?::?00)?|Z)$/u.exec(text ?? '');
  if (!match) return null;
  const [, year, month, day, time, fraction = ''] = match;
  const years = year.length > 4 ? `+${year.padStart(6, '0')}` : year;
  const date = new Date(`${years}-${month}-${day}T${time}.${fraction.slice(0, 3).padEnd(3, '0')}Z`);
  return Number.isNaN(date.getTime()) ? null : date;
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const formats = {
  day: new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' }),
  year: new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' }),
  time: new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' }),
  full: new Intl.DateTimeFormat('en-GB', { dateStyle: 'full', timeStyle: 'long' }),
};

export function clock(date) {
  const now = new Date();
  const time = formats.time.format(date);
  if (date.toDateString() === now.toDateString()) return time;
  return `${(date.getFullYear() === now.getFullYear() ? formats.day : formats.year).format(date)}, ${time}`;
}

/** "3 min ago", "in 2 d". */
export function relative(date, now = Date.now()) {
  const seconds = (now - date.getTime()) / 1000;
  if (Math.abs(seconds) < 1) return 'now';
  const rough = Math.abs(seconds) < 60 ? `${Math.floor(Math.abs(seconds))} s` : duration(Math.abs(seconds));
  return seconds > 0 ? `${rough} ago` : `in ${rough}`;
}

export function Time({ value, ago = false, fraction = false }) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!ago) return undefined;
    const timer = setInterval(() => tick((n) => n + 1), 5000);
    return () => clearInterval(timer);
  }, [ago]);
  if (value === null || value === undefined) return html`<span class="none">–</span>`;
  const date = parseTime(value);
  if (!date) return html`<bdi>${value}</bdi>`;
  const parts = fraction ? `${clock(date)}.${String(date.getMilliseconds()).padStart(3, '0')}` : clock(date);
  return html`<time datetime=${date.toISOString()} title=${`${formats.full.format(date)} (${zone})\n${value}`}>${ago ? relative(date) : parts}</time>`;
}
