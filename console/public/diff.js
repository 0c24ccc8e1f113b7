// Two states side by side, line by line.
import { html } from './html.js';
import { bytes, marked } from './text.js';

const limit = 400;

/** Pairs of lines: the same on both sides, or on one side only. The longest common subsequence, as diff finds it. */
export function pairs(before, after) {
  const linesOf = (text) => (text === '' ? [] : text.split('\n').slice(0, limit));
  const a = linesOf(before);
  const b = linesOf(after);
  const plain = (line) => line.replace(/,$/u, '');
  const same = (i, j) => plain(a[i]) === plain(b[j]);
  const width = b.length + 1;
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i * width + j] = same(i, j) ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const found = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && same(i, j)) found.push([a[i++], b[j++], true]);
    else if (j >= b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1])) found.push([a[i++], null, false]);
    else found.push([null, b[j++], false]);
  }
  // What went and what came in its place stand in one row.
  const rows = [];
  for (let n = 0; n < found.length; ) {
    if (found[n][2]) {
      rows.push(found[n++]);
      continue;
    }
    const gone = [];
    const come = [];
    for (; n < found.length && !found[n][2]; n++) (found[n][0] === null ? come : gone).push(found[n][0] ?? found[n][1]);
    for (let k = 0; k < Math.max(gone.length, come.length); k++) rows.push([gone[k] ?? null, come[k] ?? null, false]);
  }
  return rows;
}

const side = (value, size, otherwise) => value ?? (size ? `(${bytes(size)} as stored: too large to be shown here)` : otherwise);

export function SideBySide({ before, after, beforeSize, afterSize, ended }) {
  const rows = pairs(side(before, beforeSize, ''), side(after, afterSize, ''));
  const cell = (line, other, equal) => html`<td class=${equal ? '' : line === null ? 'gap' : other === null ? 'only' : 'changed'}>${line === null ? '' : marked(line)}</td>`;
  return html`<div class="side-by-side" tabindex="0"><table>
    <thead><tr><th scope="col">before${before === null && !beforeSize && html`<span class="none">: no instance</span>`}</th><th scope="col">after${ended && html`<span class="none">: the instance has ended</span>`}</th></tr></thead>
    <tbody>${rows.map(([left, right, equal]) => html`<tr>${cell(left, right, equal)}${cell(right, left, equal)}</tr>`)}</tbody>
  </table></div>`;
}
