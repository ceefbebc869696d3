// The command line: parses, and hands over. One file a command.
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.js';
import { attestCommand } from './attest.js';
import { cancelCommand } from './cancel.js';
import { diffCommand } from './diff.js';
import { impactCommand } from './impact.js';
import { lineageCommand } from './lineage.js';
import { listCommand } from './list.js';
import { logsCommand } from './logs.js';
import { EXIT, printError } from './output.js';
import { releaseCommand } from './release.js';
import { devCommand, gatewayCommand, workerCommand } from './serve.js';
import { statusCommand } from './status.js';
import { traceCommand } from './trace.js';
import { validateCommand } from './validate.js';
import { verifyCommand } from './verify.js';

const program = new Command('throughline')
  .description('Durable, traceable releases of machine-learning models, on Temporal.')
  .version(VERSION)
  .showHelpAfterError('(throughline --help lists the commands)')
  .exitOverride();

for (const add of [
  devCommand,
  releaseCommand,
  statusCommand,
  listCommand,
  cancelCommand,
  logsCommand,
  traceCommand,
  lineageCommand,
  impactCommand,
  diffCommand,
  attestCommand,
  verifyCommand,
  validateCommand,
  gatewayCommand,
  workerCommand,
]) {
  add(program);
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else process.exitCode = printError(error, process.argv.includes('--json'));
}
// Sockets that a library keeps open must not keep a finished command.
setTimeout(() => process.exit(), 2_000).unref();
