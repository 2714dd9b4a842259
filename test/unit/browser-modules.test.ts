/** What trains in a browser needs no Node: bundled as the playground's worker is, it asks for none of Node's modules. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Rolldown } from 'vite';
import { describe, expect, it } from 'vitest';
import { browserModules } from '../../scripts/vite-browser.mjs';

const ROOT = join(import.meta.dirname, '../..');
const ENTRY = 'virtual:entry';

/** Layers that training and its measures need, each as a whole. */
const LAYERS = ['core', 'graph', 'engine', 'model', 'loaded', 'data', 'train', 'eval', 'analysis'];

interface Bundled {
  /** The modules of Node that are asked for, each with who asks. */
  readonly node: readonly string[];
  /** Ids of the modules whose code is in the bundle. */
  readonly modules: readonly string[];
}

/** Bundles a module for browsers, without writing it. */
async function bundled(text: string): Promise<Bundled> {
  const node: string[] = [];
  const result = (await build({
    ...{ configFile: false, root: join(ROOT, 'web'), logLevel: 'silent', publicDir: false },
    plugins: [
      {
        name: 'entry',
        enforce: 'pre',
        resolveId(source, importer) {
          if (source === ENTRY) return join(ROOT, 'web/entry.ts');
          if (/^node:|^(fs|path|os|crypto|buffer|util|module|worker_threads)$/.test(source))
            node.push(`${source} in ${importer}`);
          return null;
        },
        load: (id) => (id === join(ROOT, 'web/entry.ts') ? text : null),
      },
      browserModules(),
    ],
    build: {
      ...{ write: false, minify: false, target: 'es2022' },
      rolldownOptions: { input: ENTRY, treeshake: false, external: ['onnxruntime-web/wasm'] },
    },
  })) as Rolldown.RolldownOutput;
  const chunks = result.output.filter((part) => part.type === 'chunk');
  return { node, modules: chunks.flatMap((chunk) => chunk.moduleIds) };
}

const whole = LAYERS.map((layer) => `export * as ${layer} from '../src/${layer}/index.js';`).join('\n');

describe('modules for browsers', () => {
  it('ask for nothing of Node, and use none of its globals', async () => {
    const { node, modules } = await bundled(`${whole}\nexport * from '../src/playground/session.js';`);
    expect(node).toEqual([]);
    expect(modules.filter((id) => id.includes('/src/')).length).toBeGreaterThan(100);
    const globals = /\b(?:Buffer\b|process\.|setImmediate\b|__dirname\b|require\()/;
    const uses = modules
      .filter((id) => id.startsWith(join(ROOT, 'src')))
      .filter((id) => globals.test(readFileSync(id, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')));
    expect(uses).toEqual([]);
  });

  it('are found out where they ask for Node', async () => {
    const { node } = await bundled(`import { readFileSync } from 'node:fs'; export const text = readFileSync('x');`);
    expect(node).toEqual([`node:fs in ${join(ROOT, 'web/entry.ts')}`]);
  });

  it('stand beside the module that they replace', () => {
    const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' });
    const replacing = files.filter((file) => file.endsWith('.browser.ts'));
    expect(replacing.length).toBeGreaterThan(5);
    for (const file of replacing)
      expect(existsSync(join(ROOT, 'src', file.replace('.browser.ts', '.ts'))), file).toBe(true);
  });
});
