import { inspect } from 'node:util';

/** No retry can help: the event is dead at once. Throw it, or call ctx.failPermanently(). */
export class PermanentFailure extends Error {
  name = 'PermanentFailure';
}

/** The event is wanted later; this is not a failure. ctx.defer() throws it. */
export class Deferral extends Error {
  name = 'Deferral';
  constructor(retryIn) {
    super(`again in ${typeof retryIn === 'number' ? `${retryIn} ms` : retryIn}`);
    this.retryIn = retryIn;
  }
}

/** The lease ran out, or another consumer has the lane: why ctx.signal is aborted. */
export class LeaseLost extends Error {
  name = 'LeaseLost';
  code = 'PM002';
}

/** The connection was lost in the middle of a batch. What was not committed is fetched again. */
export class ConnectionLost extends Error {
  name = 'ConnectionLost';
}

/** on_failure is 'halt', and something before has failed: what was fetched after it is fetched again. */
export class GivenBack extends Error {
  name = 'GivenBack';
}

/** An interval, from milliseconds or text; null for none. */
export const interval = (time) => (time == null ? null : typeof time === 'number' ? `${time} milliseconds` : shown(time));

/** SQLSTATEs of a lost race, which is not a failure: serialization, deadlock, lock timeout, a stream's version. */
const conflicts = new Set(['40001', '40P01', '55P03', 'PM001']);
export const isConflict = (error) => conflicts.has(error?.code);

/** SQLSTATEs that do not go away by themselves: run() rejects with them. */
const fatal = /^(42|28|3D|3F|22|0A)/;
export const isFatal = (error) =>
  typeof error?.code === 'string' && (fatal.test(error.code) || (error.code === '55000' && /copy/.test(error.message)));

/** What pm.parked shows of an error. */
export function describe(error) {
  if (!(error instanceof Error)) return clean(shown(error));
  const state = /^[0-9A-Z]{5}$/.test(error.code ?? '') ? ` (SQLSTATE ${error.code})` : '';
  return clean(`${shown(error.message || error.name)}${state}`);
}

/** The database refuses what belongs to effects outside: doing these again would not help. */
export const refusal = (error) => (/^(22|42)/.test(error.code ?? '') ? new PermanentFailure(describe(error), { cause: error }) : error);

// Anything can be thrown.
const shown = (value) => (typeof value === 'string' ? value : inspect(value));
const clean = (text) => text.slice(0, 10000).replaceAll('\0', '\ufffd') || 'no message';
