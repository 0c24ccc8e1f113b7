#!/usr/bin/env node
// Makes the HTTP calls of an outbox. README.md describes it. lib/request.js decides what is sent, lib/address.js where to, and
// lib/outcome.js what follows from an answer.
import { Consumer, Json, PermanentFailure } from 'pm-consumer';
import { call } from './lib/call.js';
import { parseJson } from './lib/json.js';
import { outcomeOf, outcomeOfError } from './lib/outcome.js';
import { Permanent } from './lib/permanent.js';
import { requestOf } from './lib/request.js';
import { settingsOf } from './lib/settings.js';

async function main() {
  const settings = settingsOf(process.env);
  const consumer = new Consumer({
    name: settings.processManager,
    effects: 'outside',
    batchSize: settings.batch,
    concurrency: settings.concurrency,
    // Calls end by themselves before this time is up.
    handlerTimeout: settings.timeout + 60000,
    stopTimeout: settings.timeout + 1000,
    logger,
  });

  await consumer.run((event, ctx) => send(event, ctx, settings));
}

async function send(event, ctx, settings) {
  const outcome = await outcomeOfEvent(event, settings);

  if (outcome.error !== undefined) {
    throw outcome.permanent
      ? new PermanentFailure(outcome.error)
      : Object.assign(new Error(outcome.error), outcome.retryIn === null ? {} : { retryIn: outcome.retryIn });
  }
  if (outcome.reply !== null) ctx.reply(outcome.reply, new Json(outcome.answer));
}

async function outcomeOfEvent(event, settings) {
  let request = null;

  try {
    const text = event.dataText ?? 'null';

    // A character of a body takes at most six in JSON.
    if (text.length > 6 * settings.maxBody + 65536) throw new Permanent('the data of the event is too large');
    request = requestOf({ ...event, data: parseJson(text) }, settings);
    return { reply: request.reply, ...outcomeOf(event, request, await call(request, settings), settings) };
  } catch (error) {
    return outcomeOfError(request, error);
  }
}

// One line for each message. Stacks are of no use here.
function say(level, ...parts) {
  const text = parts.map((part) => (part instanceof Error ? part.message : String(part))).join(' ');

  process.stderr.write(`${level}: ${text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')}\n`);
}

const logger = { info: say.bind(null, 'info'), warn: say.bind(null, 'warn'), error: say.bind(null, 'error') };

main().catch((error) => {
  logger.error(error);
  process.exitCode = 1;
});
