// The frame of the page: what is at the top, and which page is shown.
import { html, render, useEffect, useRef, useState } from './html.js';
import { enter, useHealth, useLive } from './api.js';
import { Actions } from './act.js';
import { H1, Problem, to, wantFocus } from './parts.js';
import { marked } from './text.js';
import { Overview } from './pages/overview.js';
import { Topology } from './pages/topology.js';
import { Manager } from './pages/manager.js';
import { Instance } from './pages/instance.js';
import { Event } from './pages/event.js';
import { Log, Logs, Stream } from './pages/logs.js';
import { Workers } from './pages/workers.js';
import { Find } from './pages/find.js';

// Parts of an address that begin with a colon are arguments of the page.
const pages = [
  ['', Overview, 'Overview'],
  ['topology', Topology, 'Topology'],
  ['topology/:around', Topology, 'Topology'],
  ['process-manager/:name', Manager, 'Process manager'],
  ['process-manager/:name/instance/:instanceKey', Instance, 'Instance'],
  ['logs', Logs, 'Logs'],
  ['log/:name', Log, 'Log'],
  ['log/:name/stream/:stream', Stream, 'Stream'],
  ['log/:log/event/:position', Event, 'Event'],
  ['workers', Workers, 'Workers'],
  ['find/:text', Find, 'Search'],
];

/** The page of an address, with its arguments and what stands after a question mark. */
function pageAt(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/u, '').split('?');
  const parts = path.split('/');
  for (const [pattern, page, title] of pages) {
    const wanted = pattern.split('/');
    if (wanted.length !== parts.length) continue;
    const args = {};
    const fits = wanted.every((name, n) => {
      if (!name.startsWith(':')) return name === parts[n];
      try {
        args[name.slice(1)] = decodeURIComponent(parts[n]);
        return true;
      } catch {
        return false;
      }
    });
    if (fits) return { page, title, args, query: Object.fromEntries(new URLSearchParams(query)), address: path };
  }
  return { page: Nowhere, title: 'Not found', args: {}, query: {}, address: path };
}

function Nowhere() {
  return html`<${H1}>There is no such page</${H1}><p><a href="#/">Overview</a></p>`;
}

const links = [
  ['#/', 'Overview', /^$/u],
  ['#/topology', 'Topology', /^topology/u],
  ['#/logs', 'Logs', /^logs?(\/|$)/u],
  ['#/workers', 'Workers', /^workers/u],
];

function Health() {
  const { state, message } = useHealth();
  if (state === 'ok') return null;
  const texts = {
    gone: ['The console does not answer.', 'It has ended, or the tunnel to it is closed. This page tries again.'],
    session: ['This page has no session.', 'Open the address that the console printed when it started.'],
    database: ['There is no connection to the database. What is shown may be out of date. This page tries again.', message],
  };
  const [title, text] = texts[state];
  return html`<div class=${`health ${state}`} role="alert"><strong>${title}</strong> <span>${marked(text ?? '')}</span></div>`;
}

/** The search; wanted: what the page that is shown has searched for. It belongs to that page and does not stay on others. */
function Search({ wanted, address }) {
  const [text, setText] = useState(wanted);
  const input = useRef();
  useEffect(() => setText(wanted), [address]);
  useEffect(() => {
    const focus = (event) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
      if (/^(INPUT|TEXTAREA|SELECT)$/u.test(document.activeElement?.tagName) || document.querySelector('dialog[open]')) return;
      event.preventDefault();
      input.current.focus();
      input.current.select();
    };
    document.addEventListener('keydown', focus);
    return () => document.removeEventListener('keydown', focus);
  }, []);
  function submit(event) {
    event.preventDefault();
    if (text.trim()) location.hash = to.find(text.trim());
  }
  return html`<form class="search" role="search" onSubmit=${submit}>
    <input ref=${input} type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="Find a key, stream or association" aria-label="Find an instance or a stream by its key" title="Press / to search" spellcheck=${false} autocomplete="off" />
  </form>`;
}

function App() {
  const [now, setNow] = useState(() => pageAt(location.hash));
  const about = useLive('/api/about', {}, 15_000).data;
  const main = useRef();

  useEffect(() => {
    const move = () => {
      wantFocus();
      setNow(pageAt(location.hash));
    };
    addEventListener('hashchange', move);
    // The address may have changed since the first rendering.
    if (pageAt(location.hash).address !== now.address) move();
    return () => removeEventListener('hashchange', move);
  }, []);

  useEffect(() => scrollTo(0, 0), [now.address]);

  const named = Object.values(now.args).at(-1);
  document.title = [now.title === 'Overview' ? null : now.title, named?.slice(0, 60), 'pm console', about?.database].filter(Boolean).join(' · ');

  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.querySelector('h1')?.focus(); }}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/"><img src="/icon.svg" alt="" width="22" height="22" /><span>pm console</span></a>
      <nav aria-label="pages">${links.map(([href, title, here]) => html`<a href=${href} aria-current=${here.test(now.address) ? 'page' : undefined}>${title}</a>`)}</nav>
      <${Search} wanted=${now.title === 'Search' ? now.args.text : ''} address=${now.address} />
      ${about && html`<div class="where"><span title=${`PostgreSQL ${about.server}, pm ${about.version ?? '–'}`}><bdi>${marked(about.role)}</bdi>@<bdi>${marked(about.database)}</bdi></span><span class=${about.write ? 'mode write' : 'mode'} title=${about.write ? 'Started with --write: actions are offered' : 'Nothing can be changed; start the console with --write to act'}>${about.write ? 'write' : 'read-only'}</span></div>`}
    </header>
    <${Health} />
    <main id="main" ref=${main}>${about?.problem
      ? html`<${H1}>There is nothing to show</${H1}><${Problem} error=${about.problem} />`
      : about && html`<${now.page} key=${now.address} ...${now.args} query=${now.query} about=${about} />`}</main>
    <${Actions} />`;
}

document.body.replaceChildren();
try {
  await enter();
} catch {
  // The line at the top says what is wrong.
}
render(html`<${App} />`, document.body);
