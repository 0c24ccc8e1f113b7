// JSON between the database and HTTP, without loss. JSON.parse turns numbers into doubles, so an id of 19 digits would
// change, both when it is sent and when it comes back. So the text is passed on unchanged both ways.

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

// Calls visit(character, from, to) for each string, with the character ", and for each other character except white space.
// One pass, however long the strings are and whatever is in them.
function scan(text, visit) {
  for (let at = 0; at < text.length; at++) {
    const from = at;

    if (text[at] === '"') {
      do at = text.indexOf('"', at + 1);
      while (at >= 0 && isEscaped(text, at));
      if (at < 0) return;
    }
    if (text[at] > ' ') visit(text[from], from, at + 1);
  }
}

function isEscaped(text, at) {
  let backslashes = 0;

  while (text[at - 1 - backslashes] === '\\') backslashes++;
  return backslashes % 2 === 1;
}

// text is the output of jsonb: it is valid, and no name occurs twice.
function findMember(text, name) {
  let depth = 0;
  let last = null;        // the string before
  let from = -1;
  let found;

  scan(text, (character, start, end) => {
    if (character === '"') last = [start, end];
    else if (character === ':' && depth === 1) from = JSON.parse(text.slice(...last)) === name ? end : -1;
    else if ((character === ',' || character === '}') && depth === 1 && from >= 0) {
      found = text.slice(from, start).trim();
      from = -1;
    }
    if (character === '{' || character === '[') depth++;
    if (character === '}' || character === ']') depth--;
  });
  return found;
}

// What JSON allows and jsonb does not: the character 0, half a surrogate pair, numbers without a limit, nesting that is too
// deep for its parser.
const FIT = /\\(?:[^u]|ud[89ab]..\\ud[c-f]..|u(?!0000|d[89a-f])....)/gi;      // the escapes without these
const MAX_DEPTH = 500;
const MAX_DIGITS = 10000;

export function fitsJsonb(text) {
  let fits = true;
  let depth = 0;
  let number = 0;         // digits in a row
  let inExponent = false;

  scan(text, (character, from, to) => {
    if (character >= '0' && character <= '9') {
      if (++number > (inExponent ? 3 : MAX_DIGITS)) fits = false;
      return;
    }
    inExponent = 'eE'.includes(character) || (inExponent && number === 0 && '+-'.includes(character));
    number = 0;
    if (character === '"' && text.slice(from, to).replace(FIT, '').includes('\\')) fits = false;
    if ((character === '{' || character === '[') && ++depth > MAX_DEPTH) fits = false;
    if (character === '}' || character === ']') depth--;
  });
  return fits;
}

// A string that jsonb and text can hold.
export function cleanText(text) {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\u0000/g, '\ufffd');
}
