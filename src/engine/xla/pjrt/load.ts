/** Loads a plugin once per process: libraries that it needs first, XLA's flags into the environment before. */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import koffi from 'koffi';
import { at, ConfigError, thisUser, writableByOthers } from '../../../core/index.js';
import { PjrtApi, widenWorkerStacks } from './api.js';
import type { Plugin } from './discover.js';

const RTLD_NOW_GLOBAL = 0x102;

/** Passes over libraries that depend on one another. */
const PASSES = 4;

/** The shared libraries of the folders. */
function librariesIn(folders: readonly string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => /^lib.*\.so(\.\d+)*$/.test(name))
      .map((name) => join(folder, name)),
  );
}

/** Throws `ConfigError` for a file that others than the user and root could have written. */
function refuseForeign(paths: readonly string[]): void {
  const users = thisUser();
  for (const path of paths) {
    const why = writableByOthers(path, users);
    if (why !== null) throw new ConfigError(`xla: ${path} is not loaded: ${why}`, { details: { path } });
  }
}

/** Loads shared libraries; those that need another come in a later pass. Returns the ones that failed. */
function preloadLibraries(libraries: readonly string[]): string[] {
  const dlopen = koffi.load(null).func('dlopen', 'uintptr_t', ['str', 'int']);
  let left = [...libraries];
  for (let pass = 0; pass < PASSES && left.length > 0; pass++) {
    left = left.filter((path) => Number(dlopen(path, RTLD_NOW_GLOBAL)) === 0);
  }
  return left;
}

/**
 * Adds XLA flags to `XLA_FLAGS`; flags that the user set win. Returns the flags in force. XLA reads them once per
 * process, when the plugin starts.
 */
export function addXlaFlags(flags: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const own = (env['XLA_FLAGS'] ?? '').split(/\s+/).filter((f) => f !== '');
  const named = new Set(own.map((f) => f.split('=')[0]));
  const all = [...own];
  for (const flag of flags) {
    const name = at(flag.split('='), 0);
    if (!named.has(name)) all.push(flag);
    named.add(name);
  }
  for (const flag of all) {
    if (!flag.startsWith('--'))
      throw new ConfigError(`XLA_FLAGS: "${flag}" does not begin with --; write --name=value`);
  }
  const text = all.join(' ');
  if (text !== '') env['XLA_FLAGS'] = text;
  return text;
}

/**
 * The flag that keeps XLA's CUDA compiler from running the programs in a folder `cuda_sdk_lib` of the current folder,
 * where it looks by default. The plugin's own folder has no such programs, so the search goes on in the usual places.
 */
export function cudaFolderFlag({ platform, path }: Pick<Plugin, 'platform' | 'path'>): readonly string[] {
  return platform === 'cuda' ? [`--xla_gpu_cuda_data_dir=${dirname(path)}`] : [];
}

/**
 * Loads the plugin and its libraries. Unless TF_CPP_MIN_LOG_LEVEL says otherwise the plugin prints errors only.
 * Throws `ConfigError` where others than the user and root could have written one of them, `EngineError` where loading
 * fails.
 */
export function loadPlugin(plugin: Plugin): PjrtApi {
  const libraries = librariesIn(plugin.libraries);
  refuseForeign([plugin.path, ...libraries]);
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
  widenWorkerStacks();
  preloadLibraries(libraries);
  return new PjrtApi(plugin.path);
}
