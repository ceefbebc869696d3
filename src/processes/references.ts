// `$(NAME)` in a container's command and arguments (Kubernetes, "Define Dependent Environment Variables").

/** Replaces `$(NAME)` by the variable's value; `$$(NAME)` is an escaped reference; an unknown name stays as it is. */
export function expandReferences(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(
    /\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))/g,
    (match, inner: string, name: string | undefined) => {
      if (inner === '$') return '$';
      return name !== undefined && Object.hasOwn(env, name) ? (env[name] ?? match) : match;
    },
  );
}
