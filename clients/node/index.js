export { Consumer } from './lib/consumer.js';
export { Json } from './lib/context.js';
export { Deferral, LeaseLost, PermanentFailure } from './lib/errors.js';
