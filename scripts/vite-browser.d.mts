import type { Plugin } from 'vite';

/** The plugin, for `plugins` and `worker.plugins` of a Vite configuration. */
export function browserModules(): Plugin;
