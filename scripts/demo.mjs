// `npm run demo`: sets everything up, then runs src/demo.
import { hand, main, root, say, setUp } from './setup.mjs';

await main(async () => {
  const parameters = process.argv.slice(2);
  if (!parameters.includes('--help')) say('▸ setting up');
  const env = await setUp({ install: !parameters.includes('--no-install') });
  return hand(process.execPath, [`${root}/dist/demo/main.js`, ...parameters], env);
});
