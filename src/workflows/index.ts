// The workflows of the worker's bundle.
export { checkDrift } from './drift.js';
export { deliverEvents } from './event-delivery.js';
export { writeGitOps } from './gitops-writer.js';
export { recordLineage } from './lineage.js';
export { sendOpenLineage } from './openlineage.js';
export { release } from './release.js';
export { deliverTrace, deliverTraces } from './trace-delivery.js';
export { trainingLog } from './training-log.js';
