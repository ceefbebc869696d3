// The training manifest as the commit has it: histories keep it without what could be a secret (I9).
import { Mirror } from '../../git/index.js';
import { type JobManifest, parseJobManifest } from '../../plan/index.js';
import { MAX_JOB_BYTES } from '../../plan/yaml.js';
import type { TrainingJob } from '../training/runner.js';

/** Reads the manifest of a Job that is about to be made, from a copy of the repository below `cache`. */
export async function manifestOf(job: TrainingJob, cache: string, signal: AbortSignal): Promise<JobManifest> {
  if (job.manifestPath === undefined) return job.manifest; // of 0.1.0, whose histories have all of it
  const mirror = await Mirror.open(cache, job.repository);
  const { commit, manifestPath: path } = job;
  const read = async () => parseJobManifest(await mirror.files(commit).read(path, MAX_JOB_BYTES), path);
  // The worker that prepared the release has it: a git server that is away now is none of the Job's business.
  if (await mirror.hasHere(commit)) {
    const found = await read().catch(() => undefined);
    if (found) return found;
  }
  await mirror.fetchRef(commit, signal);
  return read();
}
