// A consumer of pm in Node.js. It connects by PGHOST, PGUSER, PGDATABASE.
import { Consumer } from 'pm-consumer';

await new Consumer({ name: 'see', batchSize: 1000 }).run((event, ctx) =>
  ctx.tx.query('INSERT INTO bench.seen (position, sent_at) VALUES ($1, $2)', [event.position, event.data.sent_at ?? null]),
);
