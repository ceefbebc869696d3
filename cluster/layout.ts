// Where everything of the local cluster lies, and which addresses it has. Nothing lies outside of these directories.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's root, from dist/cluster. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** XDG Base Directory Specification: what can be had again. */
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'throughline', 'cluster');

/** What is built and downloaded, keyed by version; shared by every cluster of this user. */
export const PARTS = join(CACHE, 'parts');

/**
 * The cluster's one node, in a network namespace of its own: nothing outside can reach these addresses, and they can
 * reach nothing outside. RFC 1918, and away from the ranges that Docker, kind and most offices use.
 */
export const NODE = {
  name: 'node',
  address: '10.213.0.1',
  prefix: 24,
  pods: '10.213.64.0/18',
  services: '10.213.128.0/18',
  /** The first address of the services' range: where pods find the API server. */
  apiService: '10.213.128.1',
  /** Where pods find names. */
  dnsService: '10.213.128.10',
  /** Where buildkitd is found, from pods and from the node alike. */
  buildkitService: '10.213.128.20',
} as const;

export const PORTS = {
  registry: 5000,
  git: 3000,
  otlpGrpc: 4317,
  otlpHttp: 4318,
  jaegerQuery: 16686,
  buildkit: 1234,
  etcd: 2379,
  redis: 6379,
  repoServer: 8081,
} as const;

/** As image references and repositories name them. */
export const REGISTRY = `${NODE.address}:${PORTS.registry}`;
/** The program that hands models over, for pods. */
export const OCI_IMAGE = `${REGISTRY}/throughline/oci:1`;
export const GIT = `https://${NODE.address}:${PORTS.git}`;

export const NAMESPACES = {
  throughline: 'throughline',
  argocd: 'argocd',
  training: 'ml-training',
  serving: 'ml-serving',
} as const;

/** The files of one cluster. */
export class Layout {
  readonly root: string;

  constructor(readonly name: string) {
    this.root = join(CACHE, 'instances', name);
  }

  readonly path = (...parts: string[]) => join(this.root, ...parts);

  /** What is known of the running cluster: see state.ts. */
  get state() {
    return this.path('state.json');
  }
  get pki() {
    return this.path('pki');
  }
  get logs() {
    return this.path('logs');
  }
  get run() {
    return this.path('run');
  }
  /** User and password of the registry and of the git server, as USER:PASSWORD. */
  get credentials() {
    return this.path('credentials', 'password');
  }
  /** A DOCKER_CONFIG directory with the registry's credentials. */
  get dockerConfig() {
    return this.path('credentials', 'docker');
  }
  /** A git configuration with the git server's credentials and certificate. */
  get gitConfig() {
    return this.path('credentials', 'gitconfig');
  }
  get repositories() {
    return this.path('git');
  }
  readonly certificate = (name: string) => this.path('pki', `${name}.crt`);
  readonly key = (name: string) => this.path('pki', `${name}.key`);
  readonly kubeconfig = (user: string) => this.path('kubeconfigs', user);
}
