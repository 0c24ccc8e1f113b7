// JSON between the database and HTTP, without losing anything. JSON.parse makes doubles of numbers, so an id of 19 digits
// would be sent as another one, and come back as another one: both ways, the text is passed on as it is.

const TEXT = Symbol('text');

// Parses a jsonb value, and remembers its text.
export function parseJson(text) {
  const value = JSON.parse(text);

  if (typeof value === 'object' && value !== null) Object.defineProperty(value, TEXT, { value: text });
  return value;
}

// The text of a member of an object that parseJson has returned.
export function memberText(object, name) {
  const text = object[TEXT];

  return text === undefined ? JSON.stringify(object[name]) : findMember(text, name);
}

// text is the output of jsonb: valid, and no name is there twice.
function findMember(text, name) {
  const token = /"(?:[^"\\]|\\.)*"|[[\]{}:,]/g;
  let depth = 0;
  let key;
  let last;
  let start = -1;

  for (let match; (match = token.exec(text)) !== null; last = match[0]) {
    const [found] = match;

    if (found === ':' && depth === 1) {
      key = JSON.parse(last);
      start = token.lastIndex;
    } else if ((found === ',' || found === '}') && depth === 1) {
      if (key === name && start >= 0) return text.slice(start, match.index).trim();
      key = undefined;
    }
    if (found === '{' || found === '[') depth++;
    if (found === '}' || found === ']') depth--;
  }
  return undefined;
}

// What JSON has, and jsonb does not: the character 0, half a surrogate pair, numbers without a limit, nesting that is too
// deep for its parser.
const NOT_IN_JSONB = /\\u(?:0000|d[89a-f])|[\ud800-\udfff]|e[+-]?\d{4}|\d{10000}/i;
const MAX_DEPTH = 500;

export function fitsJsonb(text) {
  return !NOT_IN_JSONB.test(text.replace(/[\ud800-\udbff][\udc00-\udfff]/g, '')) && depthOf(text) <= MAX_DEPTH;
}

function depthOf(text) {
  const token = /"(?:[^"\\]|\\.)*"|[[\]{}]/g;
  let depth = 0;
  let most = 0;

  for (let match; (match = token.exec(text)) !== null;) {
    if (match[0] === '{' || match[0] === '[') most = Math.max(most, ++depth);
    else if (match[0] === '}' || match[0] === ']') depth--;
  }
  return most;
}

// A string that jsonb and text can have.
export function cleanText(text) {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\u0000/g, '\ufffd');
}
