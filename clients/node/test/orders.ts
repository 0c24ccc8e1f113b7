// The process manager of orders.test.js: what is known of each order, item and package. orders.sql has the same in PL/pgSQL.
import { Consumer, type Event, type Context } from 'pm-consumer';

interface State {
  /** How often each type came. */
  seen: Record<string, number>;
  /** The number of the last event of the source. */
  last: number;
  order?: { price: number; items: number; paid: boolean; welcomed: boolean };
  rung: number;
}
interface Data {
  eid: number;
  price?: number;
  items?: string[];
}

async function handle(event: Event<Data>, ctx: Context<State>): Promise<void> {
  const { type, data, log } = event;
  await ctx.tx.query('INSERT INTO call (pm, key, log, pos, type) VALUES ($1, $2, $3, $4, $5)', ['typescript', event.key, log, event.position, type]);
  // One event in a hundred fails twice.
  if (log !== null && data.eid % 100 === 7 && event.attempt <= 2) throw new Error(`poison ${data.eid}`);

  const state: State = ctx.state ?? { seen: {}, last: 0, rung: 0 };
  if (type === 'archive') return ctx.finish(state);
  state.seen[type] = (state.seen[type] ?? 0) + 1;
  if (event.kind === 'timer') {
    state.rung++;
    if (type === 'welcome' && state.order) state.order.welcomed = true;
  } else {
    state.last = data.eid;
    ctx.save(state);
  }
  switch (type) {
    case 'place order':
      state.order = { price: data.price!, items: data.items!.length, paid: false, welcomed: false };
      ctx.setTimer('welcome', event.recordedAt);
      ctx.setTimer('overdue', new Date(event.recordedAt.getTime() + 3600e3));
      break;
    case 'pay order':
      state.order!.paid = true;
      ctx.cancelTimer('overdue');
      break;
    case 'payment reminder':
      ctx.setTimer(`reminded ${data.eid}`, new Date(event.recordedAt.getTime() + 200), { of: data.eid });
  }
  ctx.save(state);
}

await new Consumer<State, Data>({ name: 'typescript' }).run(handle);
