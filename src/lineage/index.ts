// Lineage: what releases consumed and made, found by any of its ids (I8).
export type {
  AttestationsAnswer,
  DeploymentWindow,
  DriftAnswer,
  DriftedTarget,
  ImpactAnswer,
  LineageAnswer,
  Match,
  ReleaseAnswer,
  ServedAnswer,
} from './answer.js';
export { archivedRelease } from './archive.js';
export {
  type CommitLog,
  type Difference,
  differenceOf,
  differenceText,
  type LayerChange,
  layerChange,
} from './diff.js';
export { type LineageReader, StoreReader } from './reader.js';
export { type LineageRecord, lineageOf } from './record.js';
export type { AuditRow } from './schema.js';
export { embeddedStore, LineageStore, StoreHandle } from './store.js';
export { chainText, impactText, lineageDot, lineageMermaid, lineageText, servedText } from './text.js';
