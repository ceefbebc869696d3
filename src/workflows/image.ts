// What an image says of itself. The same entries are OCI annotations of the manifest and labels of the configuration.
import type { CommitSha } from '../domain/ids.js';
import type { ReleaseRequest, TrainedModel } from '../domain/release.js';
import { withoutUser } from '../domain/urls.js';
import type { Plan } from '../plan/schema.js';
import { LABEL_PREFIX } from '../telemetry/attributes.js';

const OCI = 'org.opencontainers.image.'; // OCI image specification, "Pre-Defined Annotation Keys"

export function imageAnnotations(
  request: ReleaseRequest,
  plan: Plan,
  commit: CommitSha,
  model: TrainedModel,
  created: Date,
): Record<string, string> {
  const { dataset } = plan.train;
  return {
    ...sourceAnnotations(request, commit, created),
    [`${OCI}title`]: plan.metadata.name,
    [`${OCI}version`]: model.id,
    [`${LABEL_PREFIX}release`]: request.release,
    [`${LABEL_PREFIX}model.id`]: model.id,
    [`${LABEL_PREFIX}model.digest`]: model.digest,
    [`${LABEL_PREFIX}dataset.name`]: dataset.name,
    [`${LABEL_PREFIX}dataset.version`]: dataset.version,
  };
}

/** Of the image that trains. */
export function trainerAnnotations(
  request: ReleaseRequest,
  plan: Plan,
  commit: CommitSha,
  created: Date,
): Record<string, string> {
  return {
    ...sourceAnnotations(request, commit, created),
    [`${OCI}title`]: `${plan.metadata.name} trainer`,
    [`${LABEL_PREFIX}release`]: request.release,
  };
}

function sourceAnnotations(
  request: ReleaseRequest,
  commit: CommitSha,
  created: Date,
): Record<string, string> {
  return {
    [`${OCI}source`]: withoutUser(request.repository),
    [`${OCI}revision`]: commit,
    [`${OCI}created`]: new Date(Math.floor(created.getTime() / 1000) * 1000)
      .toISOString()
      .replace('.000Z', 'Z'),
  };
}
