/** The built command line as tests start it in processes of its own. */
import { fileURLToPath } from 'node:url';

/** The program of the package as it is built; `npm test` builds it first. */
export const DIST_MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** The folder that bundled-cli.ts makes from `dist`. */
export const BUNDLED = fileURLToPath(new URL('../../build/tested', import.meta.url));

/** The same program in few files, so that it starts in half of the time. */
export const MAIN = fileURLToPath(new URL('../../build/tested/cli/main.js', import.meta.url));
