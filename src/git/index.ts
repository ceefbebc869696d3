// Git, as far as Throughline needs it: cached mirrors, files at a commit, and failures told apart.
export { authorizationFor } from './credentials.js';
export { classifyPushFailure, isProtectedBranch, lastLines, remoteFailure } from './failures.js';
export { gitIn } from './git.js';
export { Mirror, type ResolvedRef } from './mirror.js';
export { type FileEntry, fileEntries, gitBytes, readBlobs } from './objects.js';
export { SingleFlight, unlessAborted } from './single-flight.js';
export { checkRepositoryUrl } from './url.js';
