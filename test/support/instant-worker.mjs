// A worker whose training and builds take no time.
import { startInstantWorker } from './instant-runtime.mjs';

await startInstantWorker();
