import { readFileSync } from 'node:fs';

/** The version of this package, such as `0.1.0`, as its package.json has it. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}
