// Which function answers which request.
import { about } from './about.js';
import { act } from './actions.js';
import { diagram } from './diagram.js';
import { event, trace } from './event.js';
import { find } from './find.js';
import { instance, journal, pending } from './instance.js';
import { log, logs, stream, streams, tail } from './logs.js';
import { instances, manager, parkedEvent, parkedEvents, parkedGroups, source, timers } from './manager.js';
import { overview } from './overview.js';
import { Snapshot } from './snapshot.js';
import { workers } from './workers.js';

export function routes(database) {
  const snapshot = new Snapshot(database);
  return {
    'GET /api/about': () => about(database),
    'GET /api/overview': overview(snapshot),
    'GET /api/diagram': diagram(database, snapshot),
    'GET /api/manager': manager(database, snapshot),
    'GET /api/parked-groups': parkedGroups(database),
    'GET /api/parked': parkedEvents(database),
    'GET /api/parked-event': parkedEvent(database),
    'GET /api/instances': instances(database),
    'GET /api/timers': timers(database),
    'GET /api/source': source(database),
    'GET /api/instance': instance(database),
    'GET /api/pending': pending(database),
    'GET /api/journal': journal(database),
    'GET /api/event': event(database),
    'GET /api/trace': trace(database),
    'GET /api/logs': logs(database, snapshot),
    'GET /api/log': log(database),
    'GET /api/tail': tail(database),
    'GET /api/streams': streams(database),
    'GET /api/stream': stream(database),
    'GET /api/workers': workers(database),
    'GET /api/find': find(database, snapshot),
    'POST /api/act': act(database),
  };
}
