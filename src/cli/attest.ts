import { type Command, Option } from 'commander';
import { ThroughlineError } from '../domain/errors.js';
import { attestRelease } from '../provenance/attest.js';
import { type StatementSigner, signerOf } from '../provenance/signing.js';
import { evidenceStore } from './evidence.js';
import { print, printJson } from './output.js';
import { onlyRelease, type StoreOptions, withReader, withStore } from './store.js';

interface AttestOptions extends StoreOptions {
  readonly key?: string;
  readonly signCommand?: string;
  readonly publicKey?: string;
  readonly fulcio?: string;
  readonly rekor?: string;
  readonly tokenFile?: string;
}

export function attestCommand(program: Command): void {
  withStore(program.command('attest'))
    .description(
      'sign what a release has made, and put it beside model and image in their registry: SLSA provenance, the gate’s result, deployments',
    )
    .argument('<release>', 'its id, or any other that is its alone')
    .addOption(new Option('--key <file>', 'private key, PEM').env('THROUGHLINE_SIGNING_KEY'))
    .addOption(
      new Option(
        '--sign-command <command>',
        'signs what it gets on standard input (a key management service)',
      ).env('THROUGHLINE_SIGNING_COMMAND'),
    )
    .addOption(
      new Option('--public-key <file>', 'public key of the command, PEM').env(
        'THROUGHLINE_SIGNING_PUBLIC_KEY',
      ),
    )
    .addOption(new Option('--fulcio <url>', 'vouches for who signs').env('THROUGHLINE_SIGNING_FULCIO_URL'))
    .addOption(new Option('--rekor <url>', 'remembers it').env('THROUGHLINE_SIGNING_REKOR_URL'))
    .addOption(
      new Option('--token-file <file>', 'OIDC token for the Fulcio').env('THROUGHLINE_SIGNING_TOKEN_FILE'),
    )
    .action((id: string, options: AttestOptions) =>
      withReader(options, async (reader) => {
        const signer = await chosenSigner(options);
        const release = await onlyRelease(reader, id);
        const attested = await attestRelease(release, signer, evidenceStore());
        if (options.json) printJson({ release: release.release, attestations: attested });
        else if (attested.length === 0) print(`${release.release} has made nothing that is in a registry`);
        for (const { predicateType, beside, added } of options.json ? [] : attested)
          print(`${added ? '+' : '='} ${predicateType}\n    ${beside}`);
      }),
    );
}

async function chosenSigner({
  key,
  signCommand,
  publicKey,
  ...keyless
}: AttestOptions): Promise<StatementSigner> {
  const { fulcio, rekor, tokenFile: token } = keyless;
  if (fulcio && rekor && token && !key && !signCommand) return signerOf({ fulcio, rekor, token });
  if (key && !signCommand) return signerOf({ key });
  if (signCommand && publicKey && !key) return signerOf({ command: signCommand, publicKey });
  throw new ThroughlineError('TL_CONFIG_INVALID', 'There is nothing to sign with', {
    expected:
      '--key FILE; --sign-command COMMAND with --public-key FILE; or --fulcio URL with --rekor URL and --token-file FILE',
  });
}
