export { inheritedEnvironment } from './environment.js';
export { createExclusively, exists, readJson, readText, writeAtomically } from './files.js';
export { identify, isAlive, type ProcessIdentity } from './identity.js';
export {
  type AttemptStatus,
  cancelTask,
  lastAttempt,
  readLog,
  removeTask,
  startTask,
  type TaskSpec,
  type TaskStatus,
  taskStatus,
  waitForTask,
} from './task.js';
