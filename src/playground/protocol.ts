/** What the playground's page and the worker that trains say to each other. Imports types alone. */
import type { PlaygroundRun } from './design.js';

/** Recall at distances `from` to `to`, in tokens. */
interface RecallAt {
  /** Distances `from..to` in tokens, both included: from the key's last use to this use. */
  readonly from: number;
  readonly to: number;
  /** Mean probability of the right value, 0 to 1; null without targets. */
  readonly probability: number | null;
}

/** One optimizer step. */
export interface StepPoint {
  /** Optimizer steps, from 1. */
  readonly step: number;
  /** Training tokens up to here. */
  readonly tokens: number;
  /** Weighted mean loss of the step's batch before the update, in nats. */
  readonly loss: number;
  /** Global norm of the gradient before clipping. */
  readonly gradNorm: number;
}

/** What is measured on held-out sequences after a step. */
export interface MeasuredPoint {
  /** Optimizer steps, from 0: the untrained model. */
  readonly step: number;
  /** Training tokens up to here. */
  readonly tokens: number;
  readonly recall: readonly RecallAt[];
  /** Scores of heads by layer and head, 0 to 1: the mean attention on a far value; empty where a layer has no heads. */
  readonly heads: readonly (readonly number[])[];
}

/** What the page asks of a worker. */
export type Request =
  | {
      /** Loads onnxruntime and says when it is there. */
      readonly kind: 'load';
      /** Where onnxruntime's script and its files of WebAssembly lie, an absolute URL with a slash at its end. */
      readonly files: string;
      /** Threads of WebAssembly; more than 1 needs a page that is isolated from other origins. */
      readonly threads: number;
    }
  | {
      /** Begins a run anew and measures the untrained model. */
      readonly kind: 'begin';
      readonly run: PlaygroundRun;
    }
  | {
      /** Trains until this step, unless another request comes. */
      readonly kind: 'train';
      readonly until: number;
      /** Measures after the last step too, whatever `MEASURE_EVERY` says. */
      readonly measure: boolean;
    }
  | {
      /** Stops after the step under way. */
      readonly kind: 'pause';
    };

/** What a worker says. */
export type Answer =
  | {
      /** onnxruntime is there. */
      readonly kind: 'loaded';
      readonly library: string;
      /** Whether it is the file whose matrix products need relaxed SIMD: the browser has it. */
      readonly relaxedSimd: boolean;
      readonly threads: number;
    }
  | {
      /** The model is compiled, placed and measured. */
      readonly kind: 'begun';
      /** Elements of all weights. */
      readonly parameters: number;
      /** Layers in the short form of patterns, from the first. */
      readonly labels: readonly string[];
      readonly measured: MeasuredPoint;
    }
  | { readonly kind: 'stepped'; readonly point: StepPoint; readonly milliseconds: number }
  | { readonly kind: 'measured'; readonly point: MeasuredPoint }
  | {
      /** Training rests after this step: it got where it should, or was paused. */
      readonly kind: 'rests';
      readonly step: number;
    }
  | { readonly kind: 'failed'; readonly message: string };
