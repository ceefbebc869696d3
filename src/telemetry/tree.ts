// A trace as a tree for the terminal: durations, attempts, and the critical path. Pure.

export interface TreeSpan {
  readonly spanId: string;
  readonly parentSpanId?: string | undefined;
  readonly name: string;
  /** Of the service that sent it; absent for the release's own spans. */
  readonly service?: string | undefined;
  /** Milliseconds since 1970. */
  readonly start: number;
  readonly end: number;
  /** Written behind the duration. */
  readonly notes: readonly string[];
  readonly failed: boolean;
  /** What happened on the way: of a training, its epochs. */
  readonly events?: readonly TreeEvent[];
}

export interface TreeEvent {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly notes: readonly string[];
}

/** Of more events than these the first and the last are shown. */
const MOST_EVENTS = 20;
const SHOWN_EVENTS = 5;

/** What the end of the root waited for, without a gap: from its end backwards, always the child that ended last. */
export function criticalPath(spans: readonly TreeSpan[], root: TreeSpan): Set<string> {
  const children = childrenOf(spans);
  const critical = new Set<string>();
  const walk = (span: TreeSpan, until: number) => {
    critical.add(span.spanId);
    let cursor = Math.min(span.end, until);
    const below = [...(children.get(span.spanId) ?? [])].sort((a, b) => b.end - a.end || b.start - a.start);
    for (const child of below) {
      if (child.end > cursor || child.end <= child.start) continue;
      walk(child, cursor);
      cursor = child.start;
    }
  };
  walk(root, root.end);
  return critical;
}

/** Lines, roots first; what has no parent here is a root. Children in the order of their starts. */
export function renderTree(spans: readonly TreeSpan[], critical: ReadonlySet<string>): string[] {
  const children = childrenOf(spans);
  const known = new Set(spans.map(({ spanId }) => spanId));
  const roots = spans.filter(({ parentSpanId }) => !parentSpanId || !known.has(parentSpanId)).sort(byStart);
  const rows: { label: string; text: string }[] = [];
  const add = (span: TreeSpan, lead: string, branch: string, below: string) => {
    rows.push({ label: `${lead}${branch}${span.name}`, text: rowOf(span, critical) });
    const own = [...(children.get(span.spanId) ?? [])].sort(byStart);
    const rail = own.length > 0 ? '│ ' : '  ';
    for (const { name, text } of eventRows(span))
      rows.push({ label: `${lead}${below}${rail}· ${name}`, text });
    own.forEach((child, index) => {
      const last = index === own.length - 1;
      add(child, lead + below, last ? '└─ ' : '├─ ', last ? '   ' : '│  ');
    });
  };
  for (const root of roots) add(root, '', '', '');
  const width = Math.max(...rows.map(({ label }) => label.length), 0);
  return rows.map(({ label, text }) => `${label.padEnd(width)}  ${text}`.trimEnd());
}

function rowOf(span: TreeSpan, critical: ReadonlySet<string>): string {
  const mark = span.failed ? '✘' : critical.has(span.spanId) ? '●' : ' ';
  const notes = [...(span.service ? [`(${span.service})`] : []), ...span.notes].join('  ');
  return `${duration(span.end - span.start).padStart(9)} ${mark} ${notes}`;
}

/** An event says when it was, counted from the span's start. */
function eventRows({ events = [], start }: TreeSpan): { name: string; text: string }[] {
  const rows = events.map(({ name, at, notes }) => ({
    name,
    text: `${`+${duration(at - start)}`.padStart(9)}   ${notes.join('  ')}`,
  }));
  if (rows.length <= MOST_EVENTS) return rows;
  const left = { name: `… ${rows.length - 2 * SHOWN_EVENTS} more`, text: '' };
  return [...rows.slice(0, SHOWN_EVENTS), left, ...rows.slice(-SHOWN_EVENTS)];
}

export function duration(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1_000;
  if (seconds < 60) return `${seconds.toFixed(2)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function childrenOf(spans: readonly TreeSpan[]): Map<string, TreeSpan[]> {
  const children = new Map<string, TreeSpan[]>();
  for (const span of spans) {
    if (!span.parentSpanId) continue;
    children.set(span.parentSpanId, [...(children.get(span.parentSpanId) ?? []), span]);
  }
  return children;
}

const byStart = (a: TreeSpan, b: TreeSpan) => a.start - b.start || a.end - b.end;
