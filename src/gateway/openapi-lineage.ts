// Lineage in the API's description (src/lineage/answer.ts).
import {
  dateTime,
  digest,
  forRole,
  nullable,
  OUTCOMES,
  problem,
  queryParameters,
  ref,
  response,
  string,
} from './openapi-parts.js';
import { driftQuerySchema, servedQuerySchema } from './queries.js';

const anyId = {
  name: 'id',
  in: 'path',
  required: true,
  description:
    'A trace, span, traceparent, prediction’s trace, pod, image, digest, model, dataset@version, Job, commit, release, run or execution; encoded',
  schema: { type: 'string', maxLength: 1_024 },
};

export function lineageSchemas(): Record<string, unknown> {
  const matches = {
    type: 'array',
    items: { type: 'object', required: ['kind', 'id'], properties: { kind: string, id: string } },
  };
  const window = {
    environment: string,
    repository: string,
    manifest: string,
    commit: string,
    from: nullable(dateTime),
    to: nullable(dateTime),
    rollback: { const: true },
  };
  const required = ['environment', 'commit', 'from', 'to'];
  const impacted = {
    type: 'object',
    required: ['release', 'model', ...required],
    properties: { release: string, model: string, imageDigest: nullable(digest), ...window },
  };
  return {
    Chain: {
      type: 'object',
      required: ['release', 'status', 'repository', 'gitopsCommits', 'deployments', 'traceId', 'requestedAt'],
      properties: {
        release: string,
        status: { enum: ['RUNNING', ...OUTCOMES] },
        model: nullable(string),
        repository: string,
        ref: string,
        planPath: string,
        commit: nullable(string),
        dataset: nullable({ type: 'string', description: 'name@version' }),
        datasetDigest: nullable(string),
        parameters: { type: 'object', additionalProperties: string },
        metrics: nullable({ type: 'object' }),
        training: nullable({
          type: 'object',
          properties: {
            job: string,
            image: nullable(string),
            startedAt: nullable(dateTime),
            endedAt: nullable(dateTime),
          },
        }),
        pods: { type: 'array', items: { type: 'object', properties: { namespace: string, name: string } } },
        modelId: nullable(string),
        modelDigest: nullable(digest),
        modelUri: nullable(string),
        image: nullable(string),
        imageDigest: nullable(digest),
        baseImages: { type: 'array', items: { type: 'object', properties: { name: string, digest } } },
        gitopsCommits: { type: 'array', items: string },
        deployments: { type: 'array', items: { type: 'object', required, properties: window } },
        traceId: string,
        traceparent: string,
        execution: nullable(string),
        requestedBy: nullable(string),
        triggeredBy: nullable(string),
        approvals: { type: 'array', items: ref('Approval') },
        rollback: nullable(ref('Rollback')),
        problem: nullable({ type: 'object', properties: { code: string, message: string } }),
        environments: { type: 'array', items: string },
        requestedAt: dateTime,
        endedAt: nullable(dateTime),
        stages: {
          type: 'array',
          items: {
            type: 'object',
            properties: { name: string, status: string, startedAt: dateTime, endedAt: dateTime },
          },
        },
      },
    },
    Lineage: {
      type: 'object',
      required: ['query', 'matches', 'releases', 'more'],
      properties: {
        query: string,
        matches,
        releases: { type: 'array', items: ref('Chain') },
        more: { type: 'boolean', description: 'There are more releases than are given here' },
      },
    },
    Attestations: {
      type: 'object',
      required: ['query', 'attestations'],
      properties: {
        query: string,
        attestations: {
          type: 'array',
          items: {
            type: 'object',
            required: ['release', 'statement', 'predicateType', 'beside', 'bundle'],
            properties: {
              release: string,
              statement: { type: 'string', description: 'SHA-256 of the statement' },
              predicateType: string,
              beside: { type: 'string', description: 'repository@sha256:…' },
              bundle: { type: 'object', description: 'A Sigstore bundle' },
            },
          },
        },
      },
    },
    Drift: {
      type: 'object',
      required: ['checkedAt', 'targets'],
      properties: {
        checkedAt: nullable(dateTime),
        targets: {
          type: 'array',
          items: {
            type: 'object',
            required: [
              'environment',
              'model',
              'repository',
              'manifest',
              'release',
              'since',
              'drifts',
              'unchecked',
            ],
            properties: {
              environment: string,
              model: string,
              repository: string,
              branch: string,
              manifest: string,
              release: nullable(string),
              since: nullable(dateTime),
              drifts: {
                type: 'array',
                items: {
                  type: 'object',
                  required: ['what', 'where', 'expected', 'found'],
                  properties: {
                    what: { enum: ['image', 'annotation', 'model', 'attestation', 'missing'] },
                    where: string,
                    expected: string,
                    found: string,
                  },
                },
              },
              unchecked: { type: 'array', items: string },
            },
          },
        },
      },
    },
    Impact: {
      type: 'object',
      required: ['query', 'matches', 'releases', 'models', 'images', 'deployments', 'serving'],
      properties: {
        query: string,
        matches,
        releases: { type: 'integer' },
        models: { type: 'array', items: { type: 'object', properties: { modelDigest: digest } } },
        images: { type: 'array', items: { type: 'object', properties: { imageDigest: digest } } },
        deployments: { type: 'array', items: impacted },
        serving: { type: 'array', items: impacted },
      },
    },
  };
}

export function lineagePaths(): Record<string, unknown> {
  return {
    '/v1/lineage/{id}': {
      get: forRole('read', {
        operationId: 'findLineage',
        summary: 'From any id to the whole chain',
        parameters: [anyId],
        responses: {
          200: response('What has the id, and the releases that it leads to', ref('Lineage')),
          404: problem('No release has to do with it'),
          503: problem('The lineage store is away'),
        },
      }),
    },
    '/v1/lineage': {
      get: forRole('read', {
        operationId: 'servedAt',
        summary: 'What an environment served at a time',
        parameters: queryParameters(servedQuerySchema),
        responses: {
          200: response('The releases', {
            type: 'object',
            required: ['environment', 'at', 'releases'],
            properties: {
              environment: string,
              at: dateTime,
              releases: { type: 'array', items: ref('Chain') },
            },
          }),
          400: problem('A parameter is not valid'),
          404: problem('There is no such environment'),
          503: problem('The lineage store is away'),
        },
      }),
    },
    '/v1/attestations/{id}': {
      get: forRole('read', {
        operationId: 'findAttestations',
        summary: 'What the releases that an id leads to have signed',
        parameters: [anyId],
        responses: {
          200: response('Statements, each in a Sigstore bundle', ref('Attestations')),
          404: problem('No release has to do with it'),
          503: problem('The lineage store is away'),
        },
      }),
    },
    '/v1/drift': {
      get: forRole('read', {
        operationId: 'findDrift',
        summary: 'What of what runs is not what was released, as of the last look',
        parameters: queryParameters(driftQuerySchema),
        responses: {
          200: response('Every target that was looked at', ref('Drift')),
          400: problem('A parameter is not valid'),
          503: problem('The lineage store is away'),
        },
      }),
    },
    '/v1/impact/{id}': {
      get: forRole('read', {
        operationId: 'findImpact',
        summary: 'What descends from a dataset, a commit, a model or an image',
        parameters: [anyId],
        responses: {
          200: response('Everything that descends from it', ref('Impact')),
          404: problem('No release has to do with it'),
          503: problem('The lineage store is away'),
        },
      }),
    },
  };
}
