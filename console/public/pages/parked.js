// A parked event: what is known of its failure, and what can be done with it.
import { html } from '../html.js';
import { useLive } from '../api.js';
import { Json, number, Text, Time } from '../text.js';
import { Answer, EventLink, Facts, Hint, NextAttempt, StreamLink } from '../parts.js';
import { Act } from '../act.js';

/** The buttons of one event. */
export function parkedActions({ manager, may, about, event, done }) {
  const values = { manager: manager.name, log: event.log, position: event.position, key: event.key };
  const base = { about, may, owner: manager.owner, done, values };
  const what = event.log === null ? 'this timer or sent event' : `the event at position ${event.position}`;
  return html`${event.state !== 'behind' && html`<${Act} ...${base} label="Retry" action="retry" verb="Retried" title=${`Retry ${what}`} explain="It is handled again at once, and its attempts are counted from the beginning. What waits behind it follows." />`}
    <${Act} ...${base} label="Discard" danger action="discard" verb="Discarded" title=${`Discard ${what}`} explain="The handler will never be called for it. This cannot be undone. What waits behind it is handled next." />`;
}

/** The hint of an error. Whoever has written the handler or the event may have written it: its SQL is not offered. */
export const ErrorHint = ({ value, length }) => html`<span class="none">Hint of the error:</span> <${Text} value=${value} length=${length} max=${600} lines />`;

/** All of one parked event; asked for when it is opened. said: the message stands above already. */
export function ParkedDetail({ name, event, said = false }) {
  const answer = useLive('/api/parked-event', { name, log: event.log, position: event.position, key: event.key });
  return html`<${Answer} of=${answer}>${({ event: found }) =>
    !found
      ? html`<p class="none">It is no longer parked.</p>`
      : html`<div class="detail">
        ${!said && found.message !== null && html`<p class="message"><${Text} value=${found.message} length=${found.message_length} max=${1000} lines /></p>`}
        ${found.detail && html`<p><${Text} value=${found.detail} length=${found.detail_length} max=${1000} lines /></p>`}
        ${!said && found.error_hint && html`<p><${ErrorHint} value=${found.error_hint} length=${found.error_hint_length} /></p>`}
        ${!said && found.hint && html`<p><${Hint} value=${found.hint} manager=${name} /></p>`}
        <${Facts} of=${[
          found.log !== null && ['event', html`<${EventLink} log=${found.log} position=${found.position} />`],
          ['type', html`<${Text} value=${found.type} />`],
          found.log !== null && found.stream !== null && ['stream', html`<${StreamLink} log=${found.log} name=${found.stream} />`],
          ['recorded', html`<${Time} value=${found.recorded_at} fraction />`],
          ['parked', html`<${Time} value=${found.parked_at} fraction />`],
          ['attempts', number(found.attempts)],
          ['failing', 'deferred'].includes(found.state) && ['next attempt', html`<${NextAttempt} at=${found.retry_at} state=${found.state} />`],
          found.sqlstate && ['SQLSTATE', found.sqlstate],
        ]} />
        <div class="two"><div><p class="label">data</p><${Json} value=${found.data} size=${found.data_size} /></div>
          ${found.context && html`<div><p class="label">context</p><pre class="json" tabindex="0"><${Text} value=${found.context} length=${found.context_length} max=${4000} lines /></pre></div>`}</div>
      </div>`}</>`;
}
