/** Where the PJRT plugin is: an explicit path, Python's packages, well-known paths, our own cache. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { cacheFolder, ConfigError } from '../../../core/index.js';
import { pythonPackages } from './python-packages.js';

/** The platforms of PJRT plugins that are searched for. */
export type Platform = 'cuda' | 'tpu' | 'cpu';

/** A PJRT plugin that was found. */
export interface Plugin {
  readonly platform: Platform;
  readonly path: string;
  /** Where it was found; printed and stored with runs. */
  readonly reason: string;
  /** Folders of libraries that it needs loaded, in an order that works. */
  readonly libraries: readonly string[];
}

/** Places of the outside world, for tests. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folders of Python's packages; none if there is no Python. */
  sitePackages(): readonly string[];
}

/** What to install when nothing is found. */
const INSTALL: Readonly<Record<Platform, string>> = {
  cuda: 'pip install jax-cuda13-pjrt (or jax-cuda12-pjrt) with its NVIDIA libraries: pip install "jax[cuda13]"',
  tpu: 'pip install libtpu',
  cpu: 'node scripts/fetch-pjrt-cpu.mjs, or pip install lammps-jax-pjrt-cpu',
};

/** Files inside a site-packages folder. */
const IN_PACKAGES: Readonly<Record<Platform, readonly string[]>> = {
  cuda: ['jax_plugins/xla_cuda13/xla_cuda_plugin.so', 'jax_plugins/xla_cuda12/xla_cuda_plugin.so'],
  tpu: ['libtpu/libtpu.so'],
  cpu: [
    'lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so',
    'cyxla_pjrt_cpu/libpjrt_cpu.so',
    'cyxla_pjrt_cpu/lib/libpjrt_cpu.so',
  ],
};

const WELL_KNOWN: Readonly<Record<Platform, readonly string[]>> = {
  cuda: ['/usr/local/lib/xla_cuda_plugin.so', '/opt/longsight/xla_cuda_plugin.so'],
  tpu: ['/lib/libtpu.so', '/usr/lib/libtpu.so'],
  cpu: ['/usr/local/lib/libpjrt_cpu.so', '/opt/longsight/pjrt_c_api_cpu_plugin.so'],
};

/** The real surroundings; Python's packages are looked for at most once, and only if it comes to that. */
export function realSurroundings(): Surroundings {
  let found: readonly string[] | null = null;
  return { env: process.env, sitePackages: () => (found ??= pythonPackages(process.env)) };
}

/** The platform that a plugin's file name speaks of. */
function platformOf(path: string): Platform {
  return /cuda|gpu/i.test(path) ? 'cuda' : /tpu/i.test(path) ? 'tpu' : 'cpu';
}

interface Candidate {
  readonly path: string;
  readonly reason: string;
}

function candidates(platform: Platform, around: Surroundings): Candidate[] {
  const cache = join(cacheFolder(around.env), 'pjrt');
  const inFolder = (folder: string, reason: string): Candidate[] =>
    IN_PACKAGES[platform].map((file) => ({ path: join(folder, file), reason }));
  return [
    ...around.sitePackages().flatMap((folder) => inFolder(folder, `found in Python's packages, ${folder}`)),
    ...WELL_KNOWN[platform].map((path) => ({ path, reason: 'found at a well-known path' })),
    ...inFolder(cache, `found in the cache ${cache}`),
  ];
}

/** NVIDIA's libraries beside a CUDA plugin that lives in a site-packages folder: every `nvidia/...`. */
function nvidiaFolders(plugin: string): string[] {
  const root = join(plugin, '..', '..', '..', 'nvidia');
  if (!existsSync(root)) return [];
  const found: string[] = [];
  const walk = (folder: string, depth: number): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const path = join(folder, entry.name);
      if (entry.name === 'lib') found.push(path);
      else if (depth > 0) walk(path, depth - 1);
    }
  };
  walk(root, 2);
  return found.sort();
}

/** The plugin to use for a platform, or null with the places that were searched. */
export function findPlugin(
  platform: Platform,
  options: { readonly path?: string | undefined } = {},
  around: Surroundings = realSurroundings(),
): { readonly plugin: Plugin | null; readonly searched: readonly string[] } {
  const named = options.path ?? around.env['LONGSIGHT_PJRT_PLUGIN'];
  if (named !== undefined && named !== '' && (options.path !== undefined || platformOf(named) === platform)) {
    // Absolute: the system's loader looks for a bare name elsewhere.
    const explicit = resolve(named);
    const reason = options.path === undefined ? 'LONGSIGHT_PJRT_PLUGIN' : 'the path given';
    if (!existsSync(explicit)) {
      throw new ConfigError(`xla: there is no file ${explicit} (${reason}); correct the path or leave it out`);
    }
    return { plugin: { platform, path: explicit, reason, libraries: nvidiaFolders(explicit) }, searched: [explicit] };
  }
  const tried = candidates(platform, around);
  const hit = tried.find(({ path }) => existsSync(path));
  const plugin = hit ? { platform, ...hit, libraries: platform === 'cuda' ? nvidiaFolders(hit.path) : [] } : null;
  return { plugin, searched: tried.map(({ path }) => path) };
}

/** The same, or `ConfigError` that says what to install. */
export function requirePlugin(
  platform: Platform,
  options: { readonly path?: string | undefined } = {},
  around?: Surroundings,
): Plugin {
  const { plugin, searched } = findPlugin(platform, options, around);
  if (plugin) return plugin;
  throw new ConfigError(
    `no PJRT plugin for ${platform} was found (looked at ${searched.length} places, from ${searched[0] ?? 'none'}); ` +
      `install one: ${INSTALL[platform]}; or set LONGSIGHT_PJRT_PLUGIN to its path`,
    { details: { platform, searched } },
  );
}
