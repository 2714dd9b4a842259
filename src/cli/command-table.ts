/**
 * Every command by name and summary, and how its module is loaded. The module is loaded when the command is called or
 * asked for help, so that `--help` and `--version` load none.
 */
import type { AnalysisKind } from '../lab/index.js';
import type { AddCommand } from './terminal/context.js';
import type { OnStop } from './terminal/stopping.js';

/** A command as the table of commands lists it. */
export interface CommandEntry {
  readonly name: string;
  /** Its options and arguments, as `longsight --help` prints them. */
  readonly usage: string;
  readonly summary: string;
  readonly hidden?: boolean;
  readonly onStop: OnStop;
  readonly load: () => Promise<AddCommand>;
}

/**
 * The command of an analysis, which is made from its definition; name and summary stand here too, since `--help`
 * loads none.
 */
const analysis = (kind: AnalysisKind, name: string, summary: string): CommandEntry => ({
  ...{ name, usage: '[options] <model>', summary, onStop: 'begins anew' },
  load: async () => (await import('./analyses/command.js')).analysisCommand(kind),
});

/** Every analysis; the compiler asks for those that are missing, and a test compares names and summaries. */
const ANALYSIS_COMMANDS: Readonly<Record<AnalysisKind, CommandEntry>> = {
  'attention-distance': analysis('attention-distance', 'attention-distance', 'how far back heads attend, in tokens'),
  drift: analysis('drift', 'drift', 'how far query and key weights of heads moved'),
  entropy: analysis('entropy', 'entropy', 'attention entropy of heads'),
  heads: analysis('heads', 'heads', 'retrieval heads by other definitions than trace'),
  influence: analysis('influence', 'influence', 'how far back inputs still matter: gradient norms by distance'),
  limits: analysis('limits', 'constrain', 'who carries long range: limit the reach of some layers'),
  longppl: analysis('longppl', 'longppl', 'perplexity over the tokens that need a long context'),
  masking: analysis('masking', 'mask', 'needle accuracy with heads switched off'),
  probes: analysis('probes', 'probe', 'layer by layer, what the last token knows of the needle'),
};

const FIT: CommandEntry = {
  name: 'fit',
  usage: '[options] <data>',
  summary: 'fit a scaling law to a table of trained models',
  onStop: 'ends',
  load: async () => (await import('./analyses/fit.js')).addFit,
};

/** In the order of `longsight --help`. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'quickstart',
    usage: '[options]',
    summary: 'the study to begin with: window size and when long-range retrieval forms',
    onStop: 'resumes',
    load: async () => (await import('./commands/study.js')).addQuickstart,
  },
  {
    name: 'study',
    usage: '[options] <file>',
    summary: 'compare designs',
    onStop: 'resumes',
    load: async () => (await import('./commands/study.js')).addStudy,
  },
  {
    name: 'train',
    usage: '[options] <file>',
    summary: 'train one model',
    onStop: 'resumesByOption',
    load: async () => (await import('./commands/train.js')).addTrain,
  },
  {
    name: 'eval',
    usage: '[options] <model>',
    summary: 'measure a checkpoint',
    onStop: 'ends',
    load: async () => (await import('./commands/eval.js')).addEval,
  },
  {
    name: 'trace',
    usage: '[options] <model>',
    summary: 'find retrieval heads',
    onStop: 'begins anew',
    load: async () => (await import('./commands/trace.js')).addTrace,
  },
  {
    name: 'generate',
    usage: '[options] <model>',
    summary: 'continue prompts',
    onStop: 'begins anew',
    load: async () => (await import('./commands/generate.js')).addGenerate,
  },
  {
    name: 'ruler',
    usage: '',
    summary: 'long-context tasks: needles, tracking, counting, questions',
    onStop: 'resumes',
    load: async () => (await import('./commands/ruler.js')).addRuler,
  },
  {
    name: 'choice',
    usage: '[options] <model> <files...>',
    summary: 'multiple choice by log-likelihood',
    onStop: 'begins anew',
    load: async () => (await import('./commands/choice.js')).addChoice,
  },
  {
    name: 'report',
    usage: '[options] <folder>',
    summary: 'write the report of a run or a study',
    onStop: 'ends',
    load: async () => (await import('./commands/report.js')).addReport,
  },
  {
    name: 'dashboard',
    usage: '[options] [folders...]',
    summary: 'runs and studies in a browser, live',
    onStop: 'serves',
    load: async () => (await import('./commands/dashboard.js')).addDashboard,
  },
  {
    name: 'playground',
    usage: '[options]',
    summary: 'two hybrids learn in your browser, side by side',
    onStop: 'serves',
    load: async () => (await import('./commands/playground.js')).addPlayground,
  },
  {
    name: 'log',
    usage: '',
    summary: 'metrics of runs for TensorBoard, or as tables',
    onStop: 'ends',
    load: async () => (await import('./commands/log.js')).addLog,
  },
  {
    name: 'cost',
    usage: '[options] <config>',
    summary: 'parameters, FLOPs and cache bytes of a model',
    onStop: 'ends',
    load: async () => (await import('./commands/cost.js')).addCost,
  },
  {
    name: 'data',
    usage: '',
    summary: 'fetch corpora, make token shards of text',
    onStop: 'resumes',
    load: async () => (await import('./commands/data.js')).addData,
  },
  {
    name: 'tokenizer',
    usage: '',
    summary: 'train a tokenizer',
    onStop: 'begins anew',
    load: async () => (await import('./commands/tokenizer.js')).addTokenizer,
  },
  {
    name: 'inspect',
    usage: '[options] <folder>',
    summary: 'what a model saved by Transformers is, and what cannot be imported',
    onStop: 'ends',
    load: async () => (await import('./commands/inspect.js')).addInspect,
  },
  {
    name: 'parity',
    usage: '[options] <folder>',
    summary: 'compare an imported model with what Transformers computes',
    onStop: 'ends',
    load: async () => (await import('./commands/parity.js')).addParity,
  },
  {
    name: 'export',
    usage: '[options] <model> <out>',
    summary: 'a trained model as a folder that Transformers loads',
    onStop: 'ends',
    load: async () => (await import('./commands/export.js')).addExport,
  },
  {
    name: 'doctor',
    usage: '[options]',
    summary: 'check the engines on this machine',
    onStop: 'begins anew',
    load: async () => (await import('./commands/doctor.js')).addDoctor,
  },
  {
    name: 'worker',
    usage: '[options] <study> <run>',
    summary: '',
    hidden: true,
    onStop: 'resumes',
    load: async () => (await import('./commands/worker.js')).addWorker,
  },
  {
    name: 'analyze',
    usage: '[options] <folder>',
    summary: 'all analyses of a run or a study, for its report',
    onStop: 'keeps what is measured',
    load: async () => (await import('./analyses/analyze.js')).addAnalyze,
  },
  ...[...Object.values(ANALYSIS_COMMANDS), FIT].sort((a, b) => (a.name < b.name ? -1 : 1)),
];
