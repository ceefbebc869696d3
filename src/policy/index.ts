// What an operator allows: who may do what, and what a release may reach.
export { allowsVerifyUrl, checkScope, checkTrigger, planViolations } from './allowed.js';
export {
  type Allowed,
  configurationJsonSchema,
  type Grant,
  type IssuerSettings,
  NO_CONFIGURATION,
  ROLES,
  type Role,
  readConfiguration,
  type ServerConfiguration,
  type TokenSettings,
  type WebhookSettings,
} from './configuration.js';
export type { AccessSettings, CommitSigning, GitHubAppSettings, GitSettings, SecretSettings } from './git.js';
export { type Concern, covers } from './scopes.js';
export { readSecrets } from './secrets.js';
