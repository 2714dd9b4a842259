/** The numbers that training itself logs, under their names in `metrics.jsonl`. */
import type { MetricWords } from '../run/index.js';

/** Each metric of training in words. */
export const TRAINING_METRICS = {
  'train/loss': {
    title: 'Training loss',
    unit: 'nats per token',
    range: '0 and more',
    meaning: 'weighted mean of -log(probability of the right token) over the steps since the last line',
  },
  'train/lr': {
    title: 'Learning rate',
    unit: null,
    range: '0 and more',
    meaning: 'learning rate of the last step, as `train.lr` is scheduled; that of Muon is in proportion',
  },
  'train/grad_norm': {
    title: 'Gradient norm',
    unit: null,
    range: '0 and more',
    meaning: 'L2 norm of the gradient by all parameters in the last step, before clipping',
  },
  'train/tok_per_sec': {
    title: 'Speed',
    unit: 'tokens per second',
    range: 'more than 0',
    meaning: 'training tokens a second over the steps since the last line, evaluations and checkpoints left out',
  },
  'train/window': {
    title: 'Window of the last step',
    unit: 'tokens',
    range: '1 and more',
    meaning: 'where windows move in training: the window of the last step, mean over the layers that move',
  },
  'train/expert_balance_loss': {
    title: 'Balance loss of experts',
    unit: null,
    range: 'even loads give `perToken`',
    meaning: 'of models with experts: the load-balancing loss of the last step before its factor, mean over layers',
  },
  'train/expert_entropy': {
    title: 'Entropy of expert loads',
    unit: 'share of that of even loads',
    range: '0 to 1',
    meaning:
      'of models with experts: entropy of the shares of the tokens that experts get in the last step, over that of even ' +
      'shares, mean over layers',
  },
  'train/expert_peak_share': {
    title: 'Load of the busiest expert',
    unit: 'multiple of an even share',
    range: '1 to the number of experts',
    meaning: 'of models with experts: largest share of an expert in the last step over an even one, of all layers',
  },
} as const satisfies Readonly<Record<string, MetricWords>>;

/** The name of a metric that training logs. */
export type TrainingMetric = keyof typeof TRAINING_METRICS;
