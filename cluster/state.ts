// What is known of a running cluster, for later commands and for whoever wants to use it.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BaseImages } from './base-images.js';
import type { Built } from './components.js';
import { GIT, type Layout, NAMESPACES, NODE, OCI_IMAGE, PORTS, REGISTRY } from './layout.js';
import type { Machine } from './machine.js';

interface Known {
  readonly machine: Machine;
  readonly apiPort: number;
  readonly jaegerPort: number;
  readonly built: Built;
  readonly baseImages: BaseImages;
}

/** Addresses that hold from this machine as well as from inside of the cluster are said to. */
export type ClusterState = Known & ReturnType<typeof describe>;

function describe(layout: Layout, { apiPort, jaegerPort, built }: Known) {
  return {
    name: layout.name,
    kind: 'native' as const,
    /** From both. */
    kubernetes: { server: `https://127.0.0.1:${apiPort}`, kubeconfig: layout.kubeconfig('admin') },
    /** Service-account tokens bound to the Roles of deploy/kubernetes; from both. */
    worker: { kubeconfig: layout.kubeconfig('throughline-worker') },
    gateway: { kubeconfig: layout.kubeconfig('throughline-gateway') },
    kubectl: join(built.kubernetes, 'kubectl'),
    buildctl: join(built.buildkit, 'buildctl'),
    oci: { program: join(built.oci, 'throughline-oci'), image: OCI_IMAGE },
    namespaces: NAMESPACES,
    certificateAuthority: layout.certificate('ca'),
    /** From inside. */
    registry: { address: REGISTRY, dockerConfig: layout.dockerConfig },
    git: { url: GIT, directory: layout.repositories, config: layout.gitConfig },
    buildkit: {
      address: `tcp://${NODE.buildkitService}:${PORTS.buildkit}`,
      certificate: layout.certificate('buildkit-client'),
      key: layout.key('buildkit-client'),
      program: join(built.buildClient, 'throughline-buildkit'),
    },
    otlp: {
      grpc: `http://${NODE.address}:${PORTS.otlpGrpc}`,
      http: `http://${NODE.address}:${PORTS.otlpHttp}`,
    },
    /** From this machine; inside it has the port 16686. */
    jaeger: { query: `http://127.0.0.1:${jaegerPort}`, queryInside: `http://127.0.0.1:${PORTS.jaegerQuery}` },
    logs: layout.logs,
    /** This very description. */
    file: layout.state,
  };
}

export function readState(layout: Layout): ClusterState | undefined {
  return existsSync(layout.state)
    ? (JSON.parse(readFileSync(layout.state, 'utf8')) as ClusterState)
    : undefined;
}

export function writeState(layout: Layout, known: Known): ClusterState {
  const state = { ...known, ...describe(layout, known) };
  writeFileSync(`${layout.state}.new`, JSON.stringify(state, null, 2), { mode: 0o600 });
  renameSync(`${layout.state}.new`, layout.state);
  return state;
}
