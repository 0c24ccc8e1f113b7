// Requests to the console, and what is known about the connection.
import { useEffect, useState } from './html.js';

const keyName = 'pm-console-key';

/** An error that the console has explained: kind, message, detail, hint, code. */
export class ApiError extends Error {
  constructor(content) {
    super(content.message);
    Object.assign(this, content);
  }
}

// ---- the state of the connection, for the line at the top of the page

let health = { state: 'ok' };
const listeners = new Set();

function setHealth(state, message) {
  if (health.state === state && health.message === message) return;
  health = { state, message };
  for (const listener of listeners) listener(health);
}

export function useHealth() {
  const [now, setNow] = useState(health);
  useEffect(() => {
    listeners.add(setNow);
    setNow(health);
    return () => listeners.delete(setNow);
  }, []);
  return now;
}

// ---- requests

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', redirect: 'error', ...options });
  } catch {
    setHealth('gone');
    throw new ApiError({ kind: 'gone', message: 'The console does not answer. It has ended, or this page lost its tunnel.' });
  }
  const content = await response.json().catch(() => ({ error: { kind: 'console', message: 'The console gave no answer.' } }));
  if (response.ok) {
    setHealth('ok');
    return content;
  }
  const error = new ApiError(content.error);
  if (error.kind === 'session') setHealth('session');
  else if (error.kind === 'connection') setHealth('database', error.message);
  else setHealth('ok');
  throw error;
}

function headers(more) {
  return { 'X-Pm-Console': localStorage.getItem(keyName) ?? '', ...more };
}

/** The parameters that are not null, as a query. */
export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export const get = (url) => request(url, { headers: headers() });

export const post = (url, content) =>
  request(url, { method: 'POST', headers: headers({ 'Content-Type': 'application/json' }), body: JSON.stringify(content) });

/** Takes the token out of the address, if there is one, and exchanges it for a session. */
export async function enter() {
  const token = /^#token=([\w-]+)/u.exec(location.hash)?.[1];
  if (!token) return;
  history.replaceState(null, '', '/#/');
  const { key } = await post('/session', { token });
  localStorage.setItem(keyName, key);
}

// ---- data that stays up to date

const visible = () =>
  new Promise((resolve) => {
    if (!document.hidden) return resolve();
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener('visibilitychange', look);
      resolve();
    };
    return document.addEventListener('visibilitychange', look);
  });

/**
 * The answer to a GET, asked for again after this many milliseconds each time (0: once). While there is no connection, the last
 * answer stays and the question is repeated. A page that nobody sees asks nothing.
 */
export function useLive(path, params, every = 0) {
  const url = path && address(path, params);
  const [asked, setAsked] = useState(0);
  const [state, setState] = useState({ url: null, data: null, error: null });

  useEffect(() => {
    if (!url) return undefined;
    let over = false;
    let timer;
    let failures = 0;
    async function ask() {
      await visible();
      if (over) return;
      let wait = every;
      try {
        const data = await get(url);
        failures = 0;
        if (over) return;
        setState({ url, data, error: null });
        // The server knows how long its query takes.
        if (every) wait = Math.max(every, data.every ?? 0);
      } catch (error) {
        if (over) return;
        setState((last) => ({ url, data: last.url === url ? last.data : null, error }));
        const again = error.kind === 'connection' || error.kind === 'gone';
        if (again) wait = Math.min(1000 * 2 ** failures++, 5000);
        else if (every) wait = Math.max(every, 5000);
      }
      if (wait) timer = setTimeout(ask, wait);
    }
    ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [url, every, asked]);

  return { data: state.url === url ? state.data : null, error: state.url === url ? state.error : null, reload: () => setAsked((n) => n + 1) };
}
