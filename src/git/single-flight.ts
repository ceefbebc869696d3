// One run at a time of something that many ask for. Whoever asks while it runs gets the next run, together with all others
// who do: a run that began before one asked may not have seen what one asks about.

export class SingleFlight<T> {
  private readonly lines = new Map<string, { running: Promise<unknown>; next: Promise<T> | undefined }>();

  run(key: string, action: () => Promise<T>): Promise<T> {
    const line = this.lines.get(key);
    if (!line) return this.begin(key, action);
    line.next ??= line.running.then(() => this.begin(key, action));
    return line.next;
  }

  private begin(key: string, action: () => Promise<T>): Promise<T> {
    const result = action();
    const line = {
      running: Promise.resolve() as Promise<unknown>,
      next: undefined as Promise<T> | undefined,
    };
    line.running = result
      .catch(() => undefined)
      .then(() => {
        if (!line.next) this.lines.delete(key);
      });
    this.lines.set(key, line);
    return result;
  }
}

/** What a promise gives, unless the signal is sooner: whoever shares a run may leave without ending it for the others. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
