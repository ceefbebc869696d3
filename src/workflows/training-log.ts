// Reads a page of a training log on a worker, which is where the log is: `throughline logs` needs no access of its own.
import type { LogPage } from '../activities/index.js';
import { activities } from './policies.js';

export function trainingLog(job: string, from: string | undefined, bytes: number): Promise<LogPage> {
  return activities('read', `log of ${job}`).readTrainingLog(job, from, bytes);
}
