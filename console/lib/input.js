// What the page sends: checked before it becomes an argument of a query.

/** A request that makes no sense. */
export class BadRequest extends Error {
  constructor(message) {
    super(message);
    this.status = 400;
  }
}

/** A text. PostgreSQL has no character 0, and UTF-8 has no half of a surrogate pair. */
export function text(given, name, { optional = false, limit = 1_000_000 } = {}) {
  const value = given[name];
  if (optional && (value === undefined || value === null)) return null;
  if (typeof value !== 'string') throw new BadRequest(`${name} is missing`);
  if (value.length > limit) throw new BadRequest(`${name} is too long`);
  if (/[\0]|\p{Surrogate}/u.test(value)) throw new BadRequest(`${name} contains a character that a text cannot contain`);
  return value;
}

/** A bigint, as text. */
export function bigint(given, name, { optional = false } = {}) {
  const value = text(given, name, { optional, limit: 20 });
  if (value === null || value === '') {
    if (optional) return null;
    throw new BadRequest(`${name} is missing`);
  }
  if (!/^-?\d{1,19}$/u.test(value) || BigInt.asIntN(64, BigInt(value)) !== BigInt(value)) {
    throw new BadRequest(`${name} is not a position`);
  }
  return value;
}

/** A whole number from 0 to a limit. */
export function count(given, name, { limit, otherwise = 0 }) {
  const value = given[name];
  if (value === undefined || value === '') return otherwise;
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0) throw new BadRequest(`${name} is not a number`);
  return Math.min(number, limit);
}
