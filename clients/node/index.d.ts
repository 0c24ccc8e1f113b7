import type { ClientConfig, QueryConfig, QueryResult, QueryResultRow } from 'pg';

/** An event or a timer of a process manager. */
export interface Event<Data = any> {
  /** 'timer': set by setTimer(). 'sent': by pm.send() or pm.reply(). These have no log. */
  kind: 'event' | 'timer' | 'sent';
  log: string | null;
  /** A bigint, as text. For a timer, a number that names it in this lease. */
  position: string;
  stream: string;
  /** A bigint, as text. */
  version: string | null;
  type: string;
  data: Data;
  /** The same as JSON text, whose numbers are not rounded. */
  readonly dataText: string;
  metadata: any;
  recordedAt: Date;
  /** The instance. */
  key: string;
  /** 1 for the first attempt. */
  attempt: number;
  /** The timeline of the server that returned the event, if the option `timeline` is set. Each promotion begins a higher one. */
  timeline?: number;
}

export interface Transaction {
  query<Row extends QueryResultRow = any>(text: string | QueryConfig, values?: unknown[]): Promise<QueryResult<Row>>;
}

export interface Context<State = any> {
  /** The state of the instance, null if there is none. Changes are kept by save(). */
  readonly state: State | null;
  /** The transaction that advances; only with effects: 'transaction'. */
  readonly tx: Transaction;
  /** Aborted when the lease is lost, handlerTimeout is over, or the program has to stop. */
  readonly signal: AbortSignal;
  /** Keeps the state; begins the instance if there is none. */
  save(state: State): void;
  /** Ends the instance, and its timers. */
  finish(result?: unknown): void;
  /** At `due` an event of this type comes; it replaces a timer of the same type. The instance must exist, or be saved. */
  setTimer(type: string, due: Date | string, data?: unknown): void;
  cancelTimer(type: string): void;
  /** Answers the instance that has appended this event (pm.reply). */
  reply(type: string, data?: unknown): void;
  /** Handles the event later: after milliseconds, or an interval ('10 minutes'). Counts no attempt. Throws. */
  defer(retryIn: number | string): never;
  /** No retry can help: the event is dead at once. Throws. */
  failPermanently(reason: string, options?: { cause?: unknown }): never;
}

export type Handler<State = any, Data = any> = (event: Event<Data>, ctx: Context<State>) => unknown;

export interface Logger {
  warn(...words: unknown[]): void;
}

export interface Options {
  /** The process manager, registered without a handler. */
  name: string;
  /** The name of this consumer, at most 200 bytes. By default, each object has its own: host, pid, random digits. */
  consumer?: string;
  /** As for new pg.Client(): a connection string or an object. By default PGHOST, PGDATABASE, ... */
  connection?: string | ClientConfig;
  /** 'transaction' (default): a batch is one transaction, ctx.tx. 'outside': effects elsewhere; events are advanced as they are done. */
  effects?: 'transaction' | 'outside';
  /** The maximum number of events in a batch (default 100). */
  batchSize?: number;
  /** How many keys of a batch are handled at the same time. By default all; with effects 'outside' 10. */
  concurrency?: number;
  /** Milliseconds after which a call has failed (default 60,000). */
  handlerTimeout?: number;
  /** How many milliseconds pm.fetch waits (default 30,000; at most 60,000). */
  wait?: number;
  /** How many milliseconds the current batch has to finish after stop() (default 10,000). */
  stopTimeout?: number;
  /** Whether events have the server's timeline, for a system that refuses requests of an old primary (default false). */
  timeline?: boolean;
  /** What stops run() (default ['SIGTERM', 'SIGINT']). */
  signals?: NodeJS.Signals[];
  /** Where failures and lost connections are reported (default console). */
  logger?: Logger;
}

export class Consumer<State = any, Data = any> {
  constructor(options: Options);
  /** Resolves after stop(). Rejects for an error that does not go away: no such process manager, a missing right. */
  run(handler: Handler<State, Data>, options?: { signal?: AbortSignal }): Promise<void>;
  stop(): void;
}

/** JSON as text, in place of a state, a result, or data. */
export class Json {
  constructor(text: string);
}

/**
 * Any error that a handler throws parks the event. With a property `retryIn` (milliseconds, or an interval) it says when to try
 * again; without it, the policy does.
 */

/** Throw it, or call ctx.failPermanently(). */
export class PermanentFailure extends Error {}
/** Throw it, or call ctx.defer(). */
export class Deferral extends Error {
  constructor(retryIn: number | string);
}
/** The reason of ctx.signal when another consumer may have the lane. */
export class LeaseLost extends Error {
  readonly code: 'PM002';
}
