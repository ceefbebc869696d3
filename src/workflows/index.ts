// The workflows of the worker's bundle.
export { release } from './release.js';
export { deliverTrace, reconcileTraces } from './trace-delivery.js';
export { trainingLog } from './training-log.js';
