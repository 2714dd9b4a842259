/** Models measured at another window than that of their configuration. */
import { ConfigError } from '../core/index.js';
import { heldAt, type ModelConfig, type Window } from '../model/index.js';
import type { Checkpoint } from '../run/index.js';

/**
 * The configuration with `window` in place of the windows that moved in training, or else of every window; as it is
 * where none is asked for.
 *
 * @throws ConfigError where no layer has a window
 */
export function configAt(config: ModelConfig, window: Window | undefined, path: string): ModelConfig {
  if (window === undefined) return config;
  const held = heldAt(config, window);
  if (held !== null) return held;
  throw new ConfigError(`${path}: no layer has a window that another (--window) could replace; leave it out`);
}

/** A checkpoint with its weights as they are, at another window. Throws as `configAt` does. */
export function checkpointAt(checkpoint: Checkpoint, window: Window | undefined): Checkpoint {
  if (window === undefined) return checkpoint;
  const { path, state } = checkpoint;
  return {
    path,
    state: { ...state, model: configAt(state.model, window, path) },
    parameters: () => checkpoint.parameters(),
    optimizer: () => checkpoint.optimizer(),
  };
}

/** What results of another window are marked with; nothing where none was asked for. */
export const windowMark = (window: Window | undefined): { readonly window?: number | 'full' } =>
  window === undefined ? {} : { window: window ?? 'full' };

/** How tables say at which window something was measured: `, window 128`. */
export const windowSuffix = (window: Window | undefined): string =>
  window === undefined ? '' : `, window ${window ?? 'full'}`;
