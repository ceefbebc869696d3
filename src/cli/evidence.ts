// The program that speaks to registries, for commands that attest and verify.
import { OciProgram, OciProgramEvidence } from '../activities/registry/oci-program.js';
import { workerConfig } from '../worker/config.js';

export function evidenceStore(): OciProgramEvidence {
  return new OciProgramEvidence(new OciProgram(workerConfig().kubernetes.ociProgram));
}
