/** Learning rates over the steps of a run. */
import type { TrainConfig } from './config.js';

/** The settings that decide the learning rate of every step. */
export type ScheduleConfig = Pick<
  TrainConfig,
  'schedule' | 'lr' | 'minLrRatio' | 'steps' | 'warmupSteps' | 'decaySteps'
>;

/**
 * The learning rate of optimizer step `step`, which counts from 1 to `steps`.
 *
 * - warm-up: linear, reaching the peak at step `warmupSteps`;
 * - `cosine`: half a cosine from the peak to `minLrRatio` times it, reached at the last step (Loshchilov and Hutter
 *   2017);
 * - `wsd`: the peak until `decaySteps` before the end, then linear to `minLrRatio` times it (Hu et al. 2024, MiniCPM);
 * - `constant`: the peak.
 */
export function learningRate(config: ScheduleConfig, step: number): number {
  const { schedule, lr, minLrRatio, steps, warmupSteps, decaySteps } = config;
  if (step < warmupSteps) return (lr * step) / warmupSteps;
  const between = (share: number) => lr * (minLrRatio + (1 - minLrRatio) * share);
  switch (schedule) {
    case 'cosine': {
      const progress = steps === warmupSteps ? 0 : (step - warmupSteps) / (steps - warmupSteps);
      return between(0.5 * (1 + Math.cos(Math.PI * progress)));
    }
    case 'wsd': {
      const left = steps - step;
      return left >= decaySteps ? lr : between(left / decaySteps);
    }
    case 'constant':
      return lr;
  }
}
