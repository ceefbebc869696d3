// The training manifest as the commit has it: histories keep it without what could be a secret (I9).
import { Mirror } from '../../git/index.js';
import { type JobManifest, parseJobManifest } from '../../plan/index.js';
import { MAX_JOB_BYTES } from '../../plan/yaml.js';
import type { TrainingJob } from '../training/runner.js';

/** Reads the manifest of a Job that is about to be made, from a copy of the repository below `cache`. */
export async function manifestOf(job: TrainingJob, cache: string, signal: AbortSignal): Promise<JobManifest> {
  if (job.manifestPath === undefined) return job.manifest; // of 0.1.0, whose histories have all of it
  const mirror = await Mirror.open(cache, job.repository);
  await mirror.fetchRef(job.commit, signal);
  return parseJobManifest(
    await mirror.files(job.commit).read(job.manifestPath, MAX_JOB_BYTES),
    job.manifestPath,
  );
}
