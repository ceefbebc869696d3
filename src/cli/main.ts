// The command line: parses, and hands over. One file a command.
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.js';
import { EXIT, printError } from './output.js';

type Register = (program: Command) => void;

/** In the order of the help. Each is loaded when it is needed: together they take most of a second. */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  dev: async () => (await import('./serve.js')).devCommand,
  release: async () => (await import('./release.js')).releaseCommand,
  status: async () => (await import('./status.js')).statusCommand,
  list: async () => (await import('./list.js')).listCommand,
  watch: async () => (await import('./watch.js')).watchCommand,
  approve: async () => (await import('./decide.js')).approveCommand,
  reject: async () => (await import('./decide.js')).rejectCommand,
  rollback: async () => (await import('./targets.js')).rollbackCommand,
  hold: async () => (await import('./targets.js')).holdCommand,
  unhold: async () => (await import('./targets.js')).unholdCommand,
  cancel: async () => (await import('./cancel.js')).cancelCommand,
  logs: async () => (await import('./logs.js')).logsCommand,
  trace: async () => (await import('./trace.js')).traceCommand,
  lineage: async () => (await import('./lineage.js')).lineageCommand,
  impact: async () => (await import('./impact.js')).impactCommand,
  diff: async () => (await import('./diff.js')).diffCommand,
  attest: async () => (await import('./attest.js')).attestCommand,
  verify: async () => (await import('./verify.js')).verifyCommand,
  drift: async () => (await import('./drift.js')).driftCommand,
  validate: async () => (await import('./validate.js')).validateCommand,
  token: async () => (await import('./token.js')).tokenCommand,
  gateway: async () => (await import('./serve.js')).gatewayCommand,
  worker: async () => (await import('./serve.js')).workerCommand,
};

const program = new Command('throughline')
  .description('Durable, traceable releases of machine-learning models, on Temporal.')
  .version(VERSION)
  .showHelpAfterError('(throughline --help lists the commands)')
  .exitOverride();

const [wanted = ''] = process.argv.slice(2);
const known = COMMANDS[wanted];
// Anything else is a question about all of them, or a mistake, which names them.
for (const load of known ? [known] : Object.values(COMMANDS)) (await load())(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else process.exitCode = printError(error, process.argv.includes('--json'));
}
// Sockets that a library keeps open must not keep a finished command.
setTimeout(() => process.exit(), 2_000).unref();
