// Running git: one place for its environment, its time limits and what it may do.
import { type SimpleGit, simpleGit } from 'simple-git';
import { inheritedEnvironment } from '../processes/index.js';
import { joined, withConfiguration } from './environment.js';

/** A command that neither ends nor prints anything for this long is stopped. */
export const SILENCE_MS = 60_000;

/** Of every command. */
export const GIT_CONFIG = [
  'core.quotePath=false',
  'http.lowSpeedLimit=1',
  'http.lowSpeedTime=30',
  'maintenance.auto=false', // no background process outlives a command
  'gc.auto=0',
  'fetch.unpackLimit=1', // packs are counted and put together (tidy.ts), loose objects are not
  // Submodules are left alone, whatever the operator's own configuration says of them.
  'submodule.recurse=false',
  'fetch.recurseSubmodules=false',
  'push.recurseSubmodules=no',
];

/** What git and its helpers (ssh, credential helpers, proxies) need of the worker's environment; nothing else passes (I9). */
const PASSED_ON = [
  'PATH',
  'HOME',
  'USER',
  'TMPDIR',
  'XDG_CONFIG_HOME',
  'SSH_AUTH_SOCK',
  'GNUPGHOME',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'GIT_SSH_COMMAND',
  'GIT_SSL_CAINFO',
  'GIT_ASKPASS',
  'GIT_CONFIG_GLOBAL',
  'GIT_CONFIG_SYSTEM',
  'GIT_CONFIG_NOSYSTEM',
] as const;

const OWN = {
  GIT_TERMINAL_PROMPT: '0', // a missing password is an error, never a question
  LC_ALL: 'C', // messages are parsed
  GIT_OPTIONAL_LOCKS: '0',
};

/**
 * LFS pointers stay pointers: files are checked out as the commit has them, whatever filter the operator's own
 * configuration has for them. An empty command is none.
 */
const NO_FILTERS = [
  ['filter.lfs.smudge', ''],
  ['filter.lfs.process', ''],
  ['filter.lfs.required', 'false'],
] as const;

/** The environment that git and its helpers run in. */
export function gitEnvironment(): Record<string, string> {
  return withConfiguration({ ...inheritedEnvironment(PASSED_ON), ...OWN }, NO_FILTERS);
}

/** git in a directory. `env` adds variables of single commands (an index file, an author). */
export function gitIn(
  directory: string,
  signal?: AbortSignal,
  env: Record<string, string> = {},
  input?: string,
): SimpleGit {
  const all = joined(gitEnvironment(), env);
  return simpleGit({
    baseDir: directory,
    ...(signal ? { abort: signal } : {}),
    timeout: { block: SILENCE_MS },
    maxConcurrentProcesses: 4,
    trimmed: false,
    ...(input === undefined ? {} : { input: () => input }),
    allowEnvironment: Object.keys(all).filter((name) => name.startsWith('GIT_')),
    // What the worker's own environment configures is the operator's choice; nothing of a plan gets here.
    unsafe: {
      allowUnsafeSshCommand: true,
      allowUnsafeAskPass: true,
      allowUnsafeConfigPaths: true,
      // And what this folder configures by environment (NO_FILTERS, credentials, signatures).
      allowUnsafeConfigEnvCount: true,
      allowUnsafeFilter: true,
      allowUnsafeCredentialHelper: true,
      allowUnsafeGpgProgram: true,
    },
    config: GIT_CONFIG,
  }).env(all);
}
