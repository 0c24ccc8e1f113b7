// A consumer in a process of its own, for kills.test.js. It kills itself (SIGKILL) at one of ODDS events on average, before or
// after its effect, or a moment later, when it saves and advances: DIES is "before", "after" or "later".
import pg from 'pg';
import { Consumer } from '../index.js';

const { NAME, EFFECTS, DIES, ODDS, BATCH } = process.env;
const pool = new pg.Pool({ max: 2 });
pool.on('error', () => {});
const die = (when) => when === DIES && Math.random() * Number(ODDS) < 1 && process.kill(process.pid, 'SIGKILL');

const dieLater = () => DIES === 'later' && Math.random() * Number(ODDS) < 1 && setTimeout(() => process.kill(process.pid, 'SIGKILL'), Math.random() * 5);

const consumer = new Consumer({ name: NAME, effects: EFFECTS, batchSize: Number(BATCH) });
const running = consumer.run(async (event, ctx) => {
  const row = [NAME, event.position, event.key, event.attempt];
  // What was called and how often, whatever becomes of the effect.
  await pool.query('INSERT INTO call (name, pos, key, attempt) VALUES ($1, $2, $3, $4)', row);
  die('before');
  await (EFFECTS === 'transaction' ? ctx.tx : pool).query('INSERT INTO effect (name, pos, key, attempt) VALUES ($1, $2, $3, $4)', row);
  die('after');
  dieLater();
});
console.error('ready'); // from now on, SIGTERM ends it in good order
await running;
await pool.end();
