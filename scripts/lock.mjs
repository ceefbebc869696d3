// Writes package-lock.json anew, for every platform and for any registry:
//  - without addresses: versions and integrity are pinned, where packages come from is each machine's configuration;
//  - with the optional packages of other platforms, which npm leaves out where a registry does not serve them, and
//    without which `npm ci` refuses the file.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
execFileSync(
  'npm',
  ['install', '--package-lock-only', '--omit-lockfile-registry-resolved=false', '--no-audit', '--no-fund'],
  {
    cwd: root,
    stdio: 'inherit',
  },
);
const path = `${root}/package-lock.json`;
const lock = JSON.parse(readFileSync(path, 'utf8'));
for (const entry of Object.values(lock.packages)) {
  delete entry.resolved;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const platform = platformOf(name);
    if (platform && /^\d/.test(version))
      lock.packages[`node_modules/${name}`] ??= { version, ...platform, optional: true };
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);

/** Packages of native code name their platform: `@swc/core-linux-arm64-musl`. */
function platformOf(name) {
  const words = name.split(/[/-]/);
  const os = words.find((word) =>
    /^(?:aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)$/.test(word),
  );
  const cpu = words.find((word) =>
    /^(?:arm|arm64|ia32|loong64|mips64el|ppc64|riscv64|s390x|x64|wasm32)$/.test(word),
  );
  if (!os || !cpu) return undefined;
  const libc = words.includes('musl')
    ? { libc: ['musl'] }
    : words.includes('gnu') && os === 'linux'
      ? { libc: ['glibc'] }
      : {};
  return { cpu: [cpu], ...libc, os: [os] };
}
