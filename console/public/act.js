// Actions: a button opens a dialog that says what will happen and shows the SQL. With --write it can be done from there;
// without it, the SQL can be copied.
import { html, useEffect, useRef, useState } from './html.js';
import { post } from './api.js';
import { marked, number } from './text.js';
import { Copy, Problem } from './parts.js';
import { statementOf } from './sql.js';

let open = () => {};

/** spec: action, values, title, explain, danger, fields [{name, label, kind, value, required}], about, may, owner, done. */
export const ask = (spec) => open(spec);

export const Act = ({ label, danger, ...spec }) =>
  html`<button type="button" class=${danger ? 'act danger' : 'act'} onClick=${() => ask({ danger, ...spec })}>${label}</button>`;

const isGroup = (action) => action.endsWith('_group');

/** Runs an action; a group in steps, until all are done or the dialog is closed. */
async function run(spec, values, { progress, stopped }) {
  if (!isGroup(spec.action)) return post('/api/act', { ...values, action: spec.action });
  let done = 0;
  let place;
  const notices = [];
  for (;;) {
    const step = await post('/api/act', { ...values, action: spec.action, place });
    done += step.done;
    place = step.place;
    notices.push(...step.notices);
    progress(done);
    if (!step.more || stopped()) return { done, notices };
  }
}

function Field({ field, value, change }) {
  const id = `field-${field.name}`;
  const common = { id, name: field.name, required: field.required, value, onInput: (event) => change(event.target.value), spellcheck: false, autocomplete: 'off' };
  return html`<label for=${id}>${field.label}</label>${field.kind === 'json' ? html`<textarea ...${common} rows="8"></textarea>` : html`<input type="text" ...${common} />`}`;
}

/** The result of an action, in words. */
function outcome(spec, answer) {
  if (isGroup(spec.action)) return `${spec.verb}: ${number(answer.done)} ${answer.done === 1 ? 'event' : 'events'}.`;
  if (spec.action.endsWith('_dead')) return `${spec.verb}: ${number(answer.result)} dead ${answer.result === '1' ? 'event' : 'events'}.`;
  return `${spec.verb}.`;
}

function ActionDialog({ spec, close, say }) {
  const dialog = useRef();
  const stopped = useRef(false);
  const [values, setValues] = useState(() => Object.fromEntries((spec.fields ?? []).map((field) => [field.name, field.value ?? ''])));
  const [state, setState] = useState({});
  const all = { ...spec.values, ...values };
  const sql = statementOf(spec.action, all);
  const { write, role } = spec.about;
  const possible = write && spec.may;

  useEffect(() => {
    dialog.current.showModal();
    return () => (stopped.current = true);
  }, []);

  async function submit(event) {
    event.preventDefault();
    if (!possible || state.busy) return;
    setState({ busy: true });
    try {
      const answer = await run(spec, all, { progress: (done) => setState({ busy: true, done }), stopped: () => stopped.current });
      say([outcome(spec, answer), ...(answer.notices ?? []).map((notice) => notice.message)].join(' '));
      close();
      spec.done?.();
    } catch (error) {
      const unknown = error.kind === 'gone' || (error.kind === 'connection' && error.unknown);
      setState({ error: unknown ? Object.assign(new Error(`${error.message} It is not known whether this was done: check before you repeat it.`), {}) : error });
    }
  }

  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="dialog-title">
    <form method="dialog" onSubmit=${submit}>
      <h2 id="dialog-title">${spec.title}</h2>
      ${spec.explain && html`<p>${spec.explain}</p>`}
      ${spec.fields?.map((field) => html`<${Field} field=${field} value=${values[field.name]} change=${(value) => setValues({ ...values, [field.name]: value })} />`)}
      <p class="label">${possible ? 'This runs' : 'SQL'}</p>
      <pre class="statement" tabindex="0"><bdi>${marked(sql.length > 3000 ? `${sql.slice(0, 3000)} …` : sql, true)}</bdi></pre>
      ${!write && html`<p class="note">This console is read-only. Run this SQL in a session, or start the console with <code>--write</code>.</p>`}
      ${write && !spec.may && html`<p class="note">Role <bdi>${role}</bdi> is not a member of the owner, <bdi>${spec.owner ?? 'which does not exist'}</bdi>.</p>`}
      ${state.error && html`<${Problem} error=${state.error} />`}
      ${state.busy && html`<p role="status">${state.done ? `${number(state.done)} done …` : 'Waiting for the batch that is running …'}</p>`}
      <div class="dialog-buttons">
        <${Copy} value=${sql} label="Copy SQL" />
        <span class="spring"></span>
        <button type="button" onClick=${() => dialog.current.close()}>${possible ? 'Cancel' : 'Close'}</button>
        ${possible && html`<button type="submit" class=${spec.danger ? 'primary danger' : 'primary'} disabled=${state.busy}>${spec.button ?? spec.title}</button>`}
      </div>
    </form>
  </dialog>`;
}

/** The place of the dialog, and of the line that says what has been done. */
export function Actions() {
  const [spec, setSpec] = useState(null);
  const [said, setSaid] = useState('');
  const opener = useRef();
  open = (next) => {
    opener.current = document.activeElement;
    setSaid('');
    setSpec(next);
  };
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(''), 8000);
    return () => clearTimeout(timer);
  }, [said]);
  function close() {
    setSpec(null);
    opener.current?.isConnected && opener.current.focus();
  }
  return html`<div class="said" role="status" aria-live="polite">${said && html`<div><span>${marked(said)}</span><button type="button" aria-label="Close" onClick=${() => setSaid('')}>×</button></div>`}</div>
    ${spec && html`<${ActionDialog} key=${spec.title} spec=${spec} close=${close} say=${setSaid} />`}`;
}
