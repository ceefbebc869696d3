import { type Command, InvalidArgumentError, Option } from 'commander';
import { newToken } from '../gateway/access/tokens.js';
import { ROLES, type Role } from '../policy/index.js';
import { withJson } from './options.js';
import { print, printJson, say } from './output.js';

interface TokenOptions {
  readonly role: readonly Role[];
  readonly model?: readonly string[];
  readonly environment?: readonly string[];
  readonly json?: boolean;
}

export function tokenCommand(program: Command): void {
  withJson(program.command('token'))
    .description(
      'make a bearer token: its hash goes into the server’s configuration, the token to whoever uses it',
    )
    .argument('<name>', 'who it is for, as logs and histories will call them', name)
    .addOption(
      new Option('--role <role...>', 'what it may do').choices([...ROLES]).default(['read', 'trigger']),
    )
    .option('--model <name...>', 'of these models only')
    .option('--environment <name...>', 'in these environments only')
    .action((who: string, { role, model, environment, json }: TokenOptions) => {
      const { token, sha256 } = newToken();
      if (json) {
        printJson({ name: who, token, sha256 });
        return;
      }
      say('The token is shown this once; it goes to whoever uses it:');
      print(token);
      say(
        [
          '',
          'And this into the server’s configuration:',
          '',
          'authentication:',
          '  tokens:',
          `    - name: ${who}`,
          `      sha256: ${sha256}`,
          '      grants:',
          `        - roles: [${role.join(', ')}]`,
          ...(model ? [`          models: [${model.join(', ')}]`] : []),
          ...(environment ? [`          environments: [${environment.join(', ')}]`] : []),
        ].join('\n'),
      );
    });
}

function name(text: string): string {
  if (/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$/.test(text)) return text;
  throw new InvalidArgumentError('expected letters, digits, dots, dashes and underscores');
}
