/** Chromium, where there is one; `CHROMIUM=PATH` names another. */
import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';

const PLACES = [
  process.env['CHROMIUM'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

/** The path of the program; undefined where there is none, which is said once. */
export const CHROMIUM = PLACES.find((path) => path !== '' && existsSync(path));
if (CHROMIUM === undefined)
  console.log('no Chromium found (CHROMIUM=PATH names one): the tests of pages in a browser are skipped');

/** Starts a browser of its own. */
export const launchChromium = (): Promise<Browser> =>
  chromium.launch({ ...(CHROMIUM === undefined ? {} : { executablePath: CHROMIUM }), args: ['--no-sandbox'] });
