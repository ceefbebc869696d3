// What the accounts may do: all that the worker needs is tried by the other tests; here is what it must not.
import { readFile } from 'node:fs/promises';
import { Agent, fetch } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClusterState, readClusterState } from '../../src/demo/cluster-world.js';
import { ApiError, KubernetesApi, resourcePath } from '../../src/kubernetes/api.js';

let state: ClusterState & { gateway: { kubeconfig: string } };
let admin: KubernetesApi;
let worker: KubernetesApi;
let gateway: KubernetesApi;

beforeAll(async () => {
  const path = process.env.THROUGHLINE_CLUSTER_STATE ?? '';
  const known = await readClusterState(path);
  state = { ...known, gateway: { kubeconfig: known.worker.kubeconfig.replace(/worker$/, 'gateway') } };
  admin = await KubernetesApi.fromEnvironment(state.kubernetes.kubeconfig);
  worker = await KubernetesApi.fromEnvironment(state.worker.kubeconfig);
  gateway = await KubernetesApi.fromEnvironment(state.gateway.kubeconfig);
});
afterAll(async () => {
  for (const api of [admin, worker, gateway]) await api?.close();
});

/** Everything that the cluster has, asked of the API server itself. */
async function everything(): Promise<{ group: string; resource: string; verbs: string[] }[]> {
  const found: { group: string; resource: string; verbs: string[] }[] = [];
  type List = { resources: { name: string; verbs: string[] }[] };
  const add = (group: string, { resources }: List) =>
    found.push(...resources.map(({ name, verbs }) => ({ group, resource: name, verbs })));
  add('', await admin.get<List>('/api/v1'));
  const { groups } = await admin.get<{
    groups: { name: string; preferredVersion: { groupVersion: string } }[];
  }>('/apis');
  for (const { name, preferredVersion } of groups) {
    add(name, await admin.get<List>(`/apis/${preferredVersion.groupVersion}`));
  }
  return found;
}

async function may(
  api: KubernetesApi,
  namespace: string,
  group: string,
  resource: string,
  verb: string,
): Promise<boolean> {
  const [name, subresource] = resource.split('/');
  const review = await api.create<{ status: { allowed: boolean } }>(
    '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: { namespace, group, resource: name, subresource, verb } },
    },
  );
  return review.status.allowed;
}

/** `group/resource verb` of all that an account may do in a namespace. */
async function allowed(api: KubernetesApi, namespace: string): Promise<string[]> {
  const asked = (await everything()).flatMap(({ group, resource, verbs }) =>
    verbs.map((verb) => ({ group, resource, verb })),
  );
  const answers = await Promise.all(
    asked.map(async ({ group, resource, verb }) =>
      (await may(api, namespace, group, resource, verb)) ? `${group}/${resource} ${verb}` : '',
    ),
  );
  // What every account may do: ask about itself.
  return answers
    .filter((one) => one !== '' && !/^(?:authorization|authentication)\.k8s\.io\//.test(one))
    .sort();
}

describe('the worker’s account', () => {
  it('may do in the training namespace what its Role says, and nothing else', async () => {
    expect(await allowed(worker, state.namespaces.training)).toEqual(
      [
        ...['create', 'delete', 'get', 'list', 'patch', 'watch'].map((verb) => `batch/jobs ${verb}`),
        ...['delete', 'get', 'list', 'patch', 'watch'].map((verb) => `/pods ${verb}`),
        '/pods/log get',
        '/events list',
      ].sort(),
    );
  });

  it('may only read in the serving namespace', async () => {
    expect(await allowed(worker, state.namespaces.serving)).toEqual(
      [
        ...['get', 'list', 'watch'].flatMap((verb) =>
          ['/pods', 'apps/deployments', 'apps/statefulsets'].map((what) => `${what} ${verb}`),
        ),
      ].sort(),
    );
  });

  it('may read and refresh Applications, and read projects', async () => {
    expect(await allowed(worker, state.namespaces.argocd)).toEqual(
      [
        ...['get', 'list', 'patch', 'watch'].map((verb) => `argoproj.io/applications ${verb}`),
        'argoproj.io/appprojects get',
      ].sort(),
    );
  });

  it('may do nothing elsewhere', async () => {
    for (const namespace of ['default', 'kube-system', 'throughline'])
      expect(await allowed(worker, namespace)).toEqual([]);
  });

  it('is refused by the API server', async () => {
    const { training, argocd } = state.namespaces;
    const attempts = [
      () => worker.get(resourcePath('v1', training, 'secrets')),
      () => worker.get(resourcePath('v1', argocd, 'secrets', 'git')),
      () => worker.get('/api/v1/nodes'),
      () => worker.create(resourcePath('v1', training, 'pods'), { metadata: { name: 'x' } }),
      () => worker.delete(resourcePath('argoproj.io/v1alpha1', argocd, 'applications', 'x'), {}),
    ];
    for (const attempt of attempts) {
      const error = await attempt().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(ApiError);
      expect((error as ApiError).code).toBe(403);
    }
  });
});

describe('the gateway’s account', () => {
  it('may do nothing', async () => {
    for (const namespace of Object.values(state.namespaces))
      expect(await allowed(gateway, namespace)).toEqual([]);
  });
});

describe('nobody', () => {
  it('is answered by the API server without credentials', async () => {
    const text = await readFile(state.kubernetes.kubeconfig, 'utf8');
    const [, server = ''] = /server: (\S+)/.exec(text) ?? [];
    const ca = await readFile(state.certificateAuthority, 'utf8');
    const dispatcher = new Agent({ connect: { ca } });
    for (const path of ['/api', '/healthz', '/version']) {
      expect((await fetch(`${server}${path}`, { dispatcher })).status).toBe(401);
    }
    await dispatcher.close();
  });
});
