// Requests about all process managers.
import { count, text } from './input.js';

const pageSize = 50;

/** Counts how many process managers are in each state, and returns a page of those that are wanted. */
export function overview(snapshot) {
  return async (given) => {
    const wanted = text(given, 'text', { optional: true, limit: 200 })?.toLowerCase() ?? '';
    const state = text(given, 'state', { optional: true, limit: 20 }) ?? '';
    const offset = count(given, 'offset', { limit: 1_000_000 });
    const now = await snapshot.get();

    const states = {};
    for (const manager of now.managers) {
      states[manager.state] = (states[manager.state] ?? 0) + 1;
      if (manager.parked !== '0') states.parked = (states.parked ?? 0) + 1;
    }
    const found = now.managers.filter(
      (manager) =>
        (!state || manager.state === state || (state === 'parked' && manager.parked !== '0')) &&
        (!wanted || manager.name.toLowerCase().includes(wanted)),
    );
    return {
      about: now.about,
      at: now.at,
      took: now.took,
      every: now.every,
      states,
      all: now.managers.length,
      found: found.length,
      pageSize,
      managers: found.slice(offset, offset + pageSize).map((manager) => ({ ...manager, rates: snapshot.recentRates(manager.name) })),
      history: snapshot.history(),
    };
  };
}
