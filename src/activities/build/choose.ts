// Which builder there is. Asked again for every build: an operator may install one while the worker runs.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ThroughlineError } from '../../domain/errors.js';
import { FRONTENDS, type Frontend, type FrontendName } from './frontends.js';

const run = promisify(execFile);

const PROBES: Readonly<Record<FrontendName, () => Promise<boolean>>> = {
  // Without an address buildctl would look for a daemon on a default socket.
  buildctl: () => answers('buildctl', ['debug', 'workers']),
  buildx: () => answers('docker', ['buildx', 'inspect']),
  buildah: () => answers('buildah', ['--version']),
};

const HINT = `Start a buildkitd and set BUILDKIT_HOST (with buildctl on PATH), or start Docker with buildx, or install buildah ("apt-get install --no-install-recommends buildah", "dnf install buildah").`;

/** The chosen builder, or with `auto` the first that answers. Throws TL_TOOL_MISSING. */
export async function chooseFrontend(wanted: FrontendName | 'auto'): Promise<Frontend> {
  const order: FrontendName[] = wanted === 'auto' ? ['buildctl', 'buildx', 'buildah'] : [wanted];
  for (const name of order) {
    if (await PROBES[name]()) return FRONTENDS[name];
  }
  throw new ThroughlineError('TL_TOOL_MISSING', 'There is no image builder here', {
    expected:
      wanted === 'auto'
        ? 'a BuildKit that answers, Docker with buildx, or buildah'
        : `${wanted}, and that it answers`,
    hint: HINT,
  });
}

async function answers(program: string, parameters: string[]): Promise<boolean> {
  try {
    await run(program, parameters, { timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}
