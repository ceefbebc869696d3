// An event of OpenLineage 2-0-2 (https://openlineage.io/spec/2-0-2/OpenLineage.json, RunEvent), as far as releases use it.
export type EventType = 'START' | 'COMPLETE' | 'FAIL' | 'ABORT';
export type Facet = Readonly<Record<string, unknown>>;

export interface Dataset {
  readonly namespace: string;
  readonly name: string;
  readonly facets: Readonly<Record<string, Facet>>;
}

export interface RunEvent {
  readonly eventType: EventType;
  readonly eventTime: string;
  readonly producer: string;
  readonly schemaURL: string;
  readonly run: { readonly runId: string; readonly facets: Readonly<Record<string, Facet>> };
  readonly job: {
    readonly namespace: string;
    readonly name: string;
    readonly facets: Readonly<Record<string, Facet>>;
  };
  readonly inputs: readonly Dataset[];
  readonly outputs: readonly Dataset[];
}
