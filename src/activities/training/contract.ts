// What every training program is told, wherever it runs (DESIGN §4). Where the model and the result go is the runtime's.
import { carrierEnvironment } from '../../telemetry/environment.js';
import type { TrainingJob } from './runner.js';

export function contractEnvironment(job: TrainingJob): Record<string, string> {
  return {
    ...job.parameters,
    ...carrierEnvironment(job.trace),
    DATASET_NAME: job.dataset.name,
    DATASET_VERSION: job.dataset.version,
    RELEASE_ID: job.release,
    MODEL_NAME: job.model,
  };
}
