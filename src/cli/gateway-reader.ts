// The same answers as the lineage store's, from a gateway that reaches it.
import type {
  AttestationsAnswer,
  DriftAnswer,
  ImpactAnswer,
  LineageAnswer,
  LineageReader,
  ServedAnswer,
} from '../lineage/index.js';
import { requestJson } from './gateway-client.js';

export class GatewayReader implements LineageReader {
  constructor(private readonly url: string) {}

  find(id: string): Promise<LineageAnswer> {
    return this.get(`/v1/lineage/${encodeURIComponent(id)}`);
  }

  impact(id: string): Promise<ImpactAnswer> {
    return this.get(`/v1/impact/${encodeURIComponent(id)}`);
  }

  attestations(id: string): Promise<AttestationsAnswer> {
    return this.get(`/v1/attestations/${encodeURIComponent(id)}`);
  }

  servedAt(environment: string, at: Date): Promise<ServedAnswer> {
    const query = new URLSearchParams({ environment, at: at.toISOString() });
    return this.get(`/v1/lineage?${query}`);
  }

  drift(environment?: string): Promise<DriftAnswer> {
    const query = environment === undefined ? '' : `?${new URLSearchParams({ environment })}`;
    return this.get(`/v1/drift${query}`);
  }

  async close(): Promise<void> {}

  private get<T>(path: string): Promise<T> {
    // It stands for the store here: whoever asks is told that nobody answers for that.
    return requestJson<T>({ gateway: this.url, unreachable: 'TL_STORE_UNREACHABLE' }, path);
  }
}
