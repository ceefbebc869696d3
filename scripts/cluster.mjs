// `npm run cluster -- up | status | down | reset | exec | forward | stop`: installs what it takes, then hands over.
import { build, hand, main, nodePackages, root } from './setup.mjs';

main(async () => {
  await nodePackages();
  await build();
  return hand(process.execPath, [`${root}/dist/cluster/main.js`, ...process.argv.slice(2)], process.env);
});
