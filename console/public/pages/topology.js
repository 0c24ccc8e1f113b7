// Which process manager follows which log, and to which logs it appends.
import { html, useState } from '../html.js';
import { useLive } from '../api.js';
import { Answer, Copy, H1, to } from '../parts.js';
import { Graph } from '../graph.js';
import { Name } from '../text.js';

/** Where a node leads: the first line of its tooltip says what it is. */
function target({ tooltip = '' }) {
  const [, kind, name] = /^(log|process manager) ([^\n]*)/u.exec(tooltip.replaceAll('\\n', '\n')) ?? [];
  if (!kind) return undefined;
  const plain = name.replaceAll('&amp;', '&');
  return { href: kind === 'log' ? to.log(plain) : to.manager(plain), label: `${kind} ${plain}` };
}

export function Topology({ around }) {
  const [text, setText] = useState(around ?? '');
  const answer = useLive('/api/diagram', { around: around || null });

  function submit(event) {
    event.preventDefault();
    location.hash = text.trim() ? to.topology(text.trim()) : '#/topology';
  }
  return html`<${H1}>Topology${around && html` <small>around <${Name} value=${around} /></small>`}</${H1}>
    <form class="filters" onSubmit=${submit}>
      <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="Around a process manager or log" aria-label="Around a process manager or log" spellcheck=${false} />
      <button type="submit">Show</button>
      ${around && html`<a class="button" href="#/topology">Show all</a>`}
      <button type="button" onClick=${answer.reload}>Refresh</button>
      ${answer.data?.dot && html`<${Copy} value=${answer.data.dot} label="Copy Graphviz text" />`}
    </form>
    <${Answer} of=${answer}>${(data) =>
      data.dot
        ? html`<${Graph} dot=${data.dot} target=${target} />
            <p class="none">An arrow leads from a log to a process manager that follows it, and a blue one from a process manager to a log to which its handler has appended.</p>`
        : html`<p>There are too many process managers, ${data.managers}, for one picture. Choose one:</p>
            <ul class="names">${data.names.map((name) => html`<li><a href=${to.topology(name)}><${Name} value=${name} /></a></li>`)}</ul>`}</>`;
}
