export { Consumer } from './lib/consumer.js';
export { Deferral, LeaseLost, PermanentFailure } from './lib/errors.js';
