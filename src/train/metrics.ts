/** The numbers that training itself logs, under their names in `metrics.jsonl`. */

/** What each metric of training is called for readers, with its unit. */
export const TRAINING_METRICS = {
  'train/loss': 'Training loss (nats per token)',
  'train/lr': 'Learning rate',
  'train/grad_norm': 'Gradient norm',
  'train/tok_per_sec': 'Speed (tokens per second)',
  'train/window': 'Window of the last step (tokens)',
  'train/expert_balance_loss': 'Balance loss of experts',
  'train/expert_entropy': 'Entropy of expert loads (nats)',
  'train/expert_peak_share': 'Share of the busiest expert',
} as const satisfies Readonly<Record<string, string>>;

/** The name of a metric that training logs. */
export type TrainingMetric = keyof typeof TRAINING_METRICS;
