/** What the dashboard's server and its page say to each other; types only, so that the page takes no code from here. */

/** What a run is doing: as stored, `killed` where its process is gone, `unreadable` for a damaged folder. */
export type DashboardState = 'running' | 'done' | 'failed' | 'interrupted' | 'killed' | 'unreadable';

/** A run as the table of runs lists it. */
export interface RunRow {
  /** Names the run in requests; made from its path. */
  readonly id: string;
  readonly name: string;
  /** The folder as a path that starts with its root's name. */
  readonly folder: string;
  /** The id of the study that the run belongs to; null for a run of its own. */
  readonly study: string | null;
  /** What runs are grouped and colored by: the study's label, or else the layer pattern. */
  readonly design: string;
  /** The layer pattern in its short form. */
  readonly layers: string;
  readonly seed: number | null;
  readonly state: DashboardState;
  readonly message: string | null;
  /** Optimizer steps done, and planned. */
  readonly step: number;
  readonly steps: number;
  /** Training tokens seen. */
  readonly tokens: number;
  /** Training tokens planned. */
  readonly budget: number;
  /** Seconds of run time at the last line of metrics. */
  readonly seconds: number;
  /** Seconds until the run is done at its last speed; null where that is not known or nothing is to come. */
  readonly eta: number | null;
  /** Tokens a second, as last measured; null before. */
  readonly tokPerSec: number | null;
  readonly engine: string;
  /** Where it runs, such as `cuda:0 (NVIDIA H200)`, or the processor. */
  readonly device: string;
  /** Milliseconds since 1970; null where it is not kept. */
  readonly startedAt: number | null;
  /** How many numbers the model has; null where it cannot be read. */
  readonly parameters: number | null;
  /** Training FLOPs a token; null where the model cannot be read. */
  readonly flopsPerToken: number | null;
  /** The last values of the metrics that the table shows. */
  readonly last: Readonly<Record<string, number>>;
}

/** A study folder. */
export interface StudyRow {
  readonly id: string;
  readonly name: string;
  readonly title: string;
  readonly question: string | null;
  readonly folder: string;
  /** The designs in the study's order. */
  readonly designs: readonly string[];
  /** How many runs are planned. */
  readonly planned: number;
}

/** A key of run configurations: its different values, and by run (in the order of the list) which of them it has. */
export interface ConfigColumn {
  readonly values: readonly (string | number | boolean | null)[];
  /** Places in `values`; -1 for a run without the key. */
  readonly of: readonly number[];
}

/** Everything that the page knows of all runs. */
export interface DashboardData {
  /** The number of the last change that these data have; see `ChangeEvent`. */
  readonly revision: number;
  readonly roots: readonly string[];
  readonly runs: readonly RunRow[];
  readonly studies: readonly StudyRow[];
  /** Designs in a fixed order, which decides their colors. */
  readonly designs: readonly string[];
  readonly metrics: readonly string[];
  readonly config: Readonly<Record<string, ConfigColumn>>;
  /** Sentences about folders that cannot be read. */
  readonly problems: readonly string[];
  /** How many run and study folders are read, of those that were found. */
  readonly read: { readonly done: number; readonly all: number };
  /** How far the index of metrics is: runs read, and all. */
  readonly indexed: { readonly done: number; readonly all: number };
  /** Whether runs can be stopped and continued from here. */
  readonly canControl: boolean;
}

/** What the server says first to a page that listens. */
export interface HelloEvent {
  /** The number of the last change before; a page whose data have another one has missed some. */
  readonly revision: number;
}

/** What has changed, as the server tells pages. */
export interface ChangeEvent {
  /** The number of this change: one more than that of the change before, and never that of another start's. */
  readonly revision: number;
  /** Rows that are new or changed. */
  readonly rows: readonly RunRow[];
  /** Ids of runs whose metrics grew, or were read for the first time. */
  readonly points: readonly string[];
  /** Ids of runs with new evaluations or findings. */
  readonly records: readonly string[];
  /** Whether runs or studies came or went: the whole state is to be asked for again. */
  readonly reload: boolean;
  readonly indexed: DashboardData['indexed'];
}

/** What curves are drawn over. `flops` is made from tokens by the page. */
export type CurveAxis = 'step' | 'tokens' | 'time';

/** A request for curves. */
export interface CurvesRequest {
  readonly metrics: readonly string[];
  readonly axis: CurveAxis;
  readonly runs: readonly string[];
  /** The part of the axis that is wanted point by point; null for all of it in stretches. */
  readonly range: readonly [number, number] | null;
  /** The most stretches that a curve is wanted in. */
  readonly most: number;
  /** Whether runs that are not read yet are to be answered with a few of their points. */
  readonly sampled: boolean;
  /** Whether the first curves are wanted as soon as there are any, and the others with the next question. */
  readonly soon?: boolean;
}

/** A curve as numbers: bucket by bucket where it starts, and the least, largest and mean value. */
export interface CurveHeader {
  readonly run: string;
  readonly metric: string;
  /** How many buckets; as many float64 places and three times as many float32 values follow in the body. */
  readonly n: number;
  /** How many points a full bucket holds. */
  readonly perBucket: number;
  /** The place of the last point: the last bucket reaches to it. */
  readonly end: number;
  /** Whether these are a few points of a file that is still to be read. */
  readonly sampled: boolean;
}

/** What the head of an answer with curves says. */
export interface CurvesHeader {
  readonly curves: readonly CurveHeader[];
  /** Runs that are not read yet: to be asked for again. */
  readonly pending: readonly string[];
  /** Those of them that there was no time for in this answer: to be asked for at once. */
  readonly unseen: readonly string[];
}

/** The heads of one traced checkpoint: scores by layer and head. */
export interface TracedCheckpoint {
  readonly tokens: number;
  readonly step: number;
  readonly scores: readonly (readonly number[])[];
}

/** Traced heads of a run over its checkpoints. */
export interface RunHeadsAnswer {
  readonly run: string;
  readonly labels: readonly string[];
  readonly checkpoints: readonly TracedCheckpoint[];
  readonly problem: string | null;
}

/** What the page of one run shows beside its curves. */
export interface RunAnswer {
  readonly row: RunRow;
  readonly path: string;
  /** `config.json` as YAML. */
  readonly config: string;
  readonly environment: readonly (readonly [string, string])[];
  /** The end of the log; null where none is kept. */
  readonly log: string | null;
  /** The steps of its evaluation records. */
  readonly evals: readonly number[];
  readonly findings: readonly string[];
  readonly timing: Readonly<Record<string, number>> | null;
  /** The process that works in the folder; null where none does. */
  readonly holder: { readonly pid: number; readonly host: string; readonly here: boolean } | null;
  /** What stopping and continuing would do, in a sentence; null where it cannot be done. */
  readonly stop: string | null;
  readonly resume: string | null;
  /** The arguments of `longsight` that go on with the run. */
  readonly resumeArgs: readonly string[];
  readonly resumeCommand: string;
  /** Whether the run can be asked to continue a prompt from here. */
  readonly canSample: boolean;
  readonly problem: string | null;
}

/** A number of two designs under one seed, as text. */
interface PairedCells {
  readonly seed: number;
  readonly a: string;
  readonly b: string;
}

/** One measure of a pair of designs, compared seed by seed. */
interface ComparedMeasure {
  readonly measure: string;
  /** What the rule says of it: a difference, none, too few seeds. */
  readonly verdict: string;
  readonly isShown: boolean;
  /** The difference or ratio with its interval, as text. */
  readonly difference: string;
  readonly seeds: readonly PairedCells[];
}

/** A pair of designs, compared. */
export interface ComparedPair {
  readonly a: string;
  readonly b: string;
  /** The group of runs (arm and point of the grid) that they are compared in; empty where there is one. */
  readonly group: string;
  readonly measures: readonly ComparedMeasure[];
}

/** What a run continues a prompt with, or why that cannot be had. */
export interface SampleAnswer {
  readonly text: string | null;
  readonly problem: string | null;
}

/** Figures and comparisons of a study or of a run of its own. */
export interface FiguresAnswer {
  readonly title: string;
  readonly overview: string;
  readonly question: string | null;
  /** HTML that is made of escaped texts, by section: answers, needles, mechanism, fits, numbers. */
  readonly sections: Readonly<Record<string, string>>;
  readonly pairs: readonly ComparedPair[];
  /** The names of finished runs, which laws are fitted to. */
  readonly fitted: readonly string[];
  readonly problem: string | null;
}
