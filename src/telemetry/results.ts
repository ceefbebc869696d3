// How a release or a stage ended, in the words of the conventions. Free of I/O: workflow code uses it.
import type { OutcomeStatus } from '../domain/release.js';
import type { PipelineResult } from './attributes.js';

export const RESULTS: Readonly<Record<OutcomeStatus, PipelineResult>> = {
  SUCCEEDED: 'success',
  REJECTED: 'failure', // the gate did its work: a failure of the run, not an error of the system
  FAILED: 'error',
  CANCELED: 'cancellation',
  SUPERSEDED: 'skip',
};
