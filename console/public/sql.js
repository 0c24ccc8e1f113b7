// SQL to copy: what an action would run, and what a hint of the server contains.

/** A literal, as quote_literal writes it. */
export function literal(value) {
  if (value === null || value === undefined) return 'NULL';
  const quoted = `'${value.replaceAll("'", "''")}'`;
  return value.includes('\\') ? `E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}

const call = (name, ...args) => `SELECT pm.${name}(${args.join(', ')});`;
const event = ({ manager, log, position, key }) => [literal(manager), literal(log), position, ...(key === null || key === undefined ? [] : [literal(key)])];

const group = (verb) => ({ manager, state, message }) =>
  `SELECT pm.${verb}(process_manager, log, position, key) FROM pm.parked
 WHERE process_manager = ${literal(manager)} AND state = ${literal(state)}
   AND message LIKE ${literal(`${message.replace(/[\\%_]/gu, '\\$&').replaceAll('…', '%')}%`)};`;

const writers = {
  retry: (a) => call('retry', ...event(a)),
  discard: (a) => call('discard', ...event(a)),
  retry_group: group('retry'),
  discard_group: group('discard'),
  retry_dead: (a) => call('retry', literal(a.manager)),
  discard_dead: (a) => call('discard', literal(a.manager)),
  pause: (a) => call('pause', literal(a.manager)),
  resume: (a) => call('resume', literal(a.manager)),
  send: (a) => call('send', literal(a.manager), literal(a.key), literal(a.type), literal(a.data || '{}')),
  set_state: (a) => call('set_state', literal(a.manager), literal(a.key), literal(a.state), literal(a.reason)),
  end_instance: (a) => call('end_instance', literal(a.manager), literal(a.key), literal(a.reason)),
};

/** The statement that an action stands for. */
export const statementOf = (action, values) => writers[action](values);

// ---- hints: sentences with statements in them

const begins = /\b(?:SELECT|ALTER|GRANT|REVOKE|CREATE|DROP|COMMIT PREPARED|ROLLBACK PREPARED|REINDEX|VACUUM)\b/gu;
const word = /\s*('(?:[^']|'')*'|"(?:[^"]|"")*"|[A-Za-z_][\w$]*(?:\.(?:[A-Za-z_][\w$]*|"(?:[^"]|"")*"))*|\d+(?:\.\d+)?|\.\.\.|[^\s\w])/yu;
const isKeyword = (text) => /^[A-Z][A-Z_]+$/u.test(text);
const isOperand = (text) => /^['"\w.)]/u.test(text) && !isKeyword(text);

/** How far a statement goes that begins at a place: up to a semicolon, the end of the sentence, or its next word. */
function endOf(text, from) {
  let end = from;
  let depth = 0;
  let last = 'SELECT';
  word.lastIndex = from;
  for (let match = word.exec(text); match; match = word.exec(text)) {
    const [, token] = match;
    if (depth === 0) {
      if (token === ';') return word.lastIndex;
      if (token === '.' || token === ':') return end;
      // Two operands in a row: the sentence continues ("SELECT pm.resume() ends the pause").
      if ((isOperand(last) || last === '*') && isOperand(token) && token !== ')') return end;
      if (token === ',' && !/^\s*[\w"']/u.test(text.slice(word.lastIndex))) return end;
    }
    if (token === '(') depth++;
    if (token === ')') depth--;
    if (depth < 0) return end;
    last = token;
    end = word.lastIndex;
  }
  return end;
}

/** A hint as parts: texts and statements. */
export function statementsIn(hint) {
  const parts = [];
  let done = 0;
  begins.lastIndex = 0;
  for (let match = begins.exec(hint); match; match = begins.exec(hint)) {
    const end = endOf(hint, match.index);
    const sql = hint.slice(match.index, end);
    // One word, or a GRANT that does not say to whom, is not a statement.
    if (!/\s/u.test(sql.trim()) || (sql.startsWith('GRANT') && !/ TO /u.test(sql))) {
      begins.lastIndex = Math.max(end, match.index + 1);
      continue;
    }
    if (match.index > done) parts.push({ text: hint.slice(done, match.index) });
    parts.push({ sql });
    done = end;
    begins.lastIndex = end;
  }
  if (done < hint.length) parts.push({ text: hint.slice(done) });
  return parts;
}
