// git's configuration by environment: git-config(1), GIT_CONFIG_COUNT. It is of one command, and on no disk.

/** An environment with settings added to those that it has already. */
export function withConfiguration(
  env: Readonly<Record<string, string>>,
  settings: readonly (readonly [string, string])[],
): Record<string, string> {
  const before = Number(env.GIT_CONFIG_COUNT ?? 0);
  return {
    ...env,
    ...Object.fromEntries(
      settings.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${before + index}`, key],
        [`GIT_CONFIG_VALUE_${before + index}`, value],
      ]),
    ),
    GIT_CONFIG_COUNT: String(before + settings.length),
  };
}

/** Both environments, with the settings of both. */
export function joined(
  first: Readonly<Record<string, string>>,
  second: Readonly<Record<string, string>>,
): Record<string, string> {
  const settings = Array.from(
    { length: Number(second.GIT_CONFIG_COUNT ?? 0) },
    (_, index) =>
      [second[`GIT_CONFIG_KEY_${index}`] ?? '', second[`GIT_CONFIG_VALUE_${index}`] ?? ''] as const,
  );
  const plain = Object.entries(second).filter(([name]) => !name.startsWith('GIT_CONFIG_'));
  return withConfiguration({ ...first, ...Object.fromEntries(plain) }, settings);
}
