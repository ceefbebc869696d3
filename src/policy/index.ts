// What an operator allows: who may do what, and what a release may reach.
export { checkScope, checkTrigger, planViolations } from './allowed.js';
export {
  type Allowed,
  configurationJsonSchema,
  type EventSink,
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
export { readSecrets } from './secrets.js';
