// Git, as far as Throughline needs it: how remotes are reached, cached mirrors, files at a commit, signed commits, and
// failures told apart.

export { ConfiguredGitAccess, type GitAccess, useGitAccess } from './access.js';
export { authorizationFor } from './credentials.js';
export { classifyPushFailure, isProtectedBranch, lastLines, pushFailure, remoteFailure } from './failures.js';
export { gitIn } from './git.js';
export { installationOf } from './github-app.js';
export { Mirror, type Purpose, type ResolvedRef } from './mirror.js';
export { type FileEntry, fileEntries, gitBytes, readBlobs } from './objects.js';
export { checkSigning, commitEnvironment, signCommit, signCommits, signingParameters } from './signing.js';
export { SingleFlight, unlessAborted } from './single-flight.js';
export { checkRepositoryUrl } from './url.js';
