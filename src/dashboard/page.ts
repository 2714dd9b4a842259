/** The page around the dashboard's program, and the files that it loads. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { StoreError } from '../core/index.js';

/**
 * The path of a file or folder of built pages.
 *
 * @throws StoreError where it is not built
 */
export function builtPath(name: string): string {
  // Beside the compiled program, or in the folder of builds where the sources run.
  const places = ['../web/', '../../dist/web/'].map((folder) => fileURLToPath(new URL(folder + name, import.meta.url)));
  const path = places.find((place) => existsSync(place));
  if (path === undefined)
    throw new StoreError('the page is not built; in a clone, run "npm run build"', { details: { name } });
  return path;
}

/** The files of the dashboard's page by name. */
export interface PageFiles {
  readonly 'app.js': Buffer;
  readonly 'app.css': Buffer;
}

/**
 * Reads the dashboard's built page.
 *
 * @throws StoreError where it is not built
 */
export function readPageFiles(): PageFiles {
  return { 'app.js': readFileSync(builtPath('app.js')), 'app.css': readFileSync(builtPath('app.css')) };
}

/** What a page loads, in its order. */
interface PageParts {
  readonly styles: readonly string[];
  readonly scripts: readonly string[];
  /** Answers that its scripts will ask for, which are asked for beside them. */
  readonly answers?: readonly string[];
}

/** The page with its style sheets and scripts, in their order; what the page needs beside is in none of its text. */
export function pageShell(title: string, { styles, scripts, answers = [] }: PageParts): string {
  const early = answers.map((name) => `<link rel="preload" href="${name}" as="fetch" crossorigin>`).join('');
  const sheets = styles.map((name) => `<link rel="stylesheet" href="${name}">`).join('');
  const programs = scripts.map((name) => `<script src="${name}" defer></script>`).join('');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><link rel="icon" href="data:,">${sheets}${programs}${early}</head>
<body><div id="app"></div><noscript>The dashboard needs JavaScript.</noscript></body></html>
`;
}
