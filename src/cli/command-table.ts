/**
 * Every command by name and summary, and how its module is loaded. The module is loaded when the command is called or
 * asked for help, so that `--help` and `--version` load none.
 */
import type { AnalysisKind } from '../lab/index.js';
import type { AddCommand } from './terminal/context.js';
import type { OnStop } from './terminal/stopping.js';

/** The tasks of commands, in the order of `longsight --help`, with the heading of each. */
export const COMMAND_GROUPS = {
  begin: 'Begin',
  compare: 'Train and compare designs',
  data: 'Prepare data',
  measure: 'Measure a model, and look inside',
  exchange: 'Exchange models with Hugging Face',
  shell: 'Use the command line',
};

/** A task of commands. */
type CommandGroup = keyof typeof COMMAND_GROUPS;

/** A command as the table of commands lists it. */
export interface CommandEntry {
  readonly name: string;
  /** Its options and arguments, as `longsight --help` prints them. */
  readonly usage: string;
  readonly summary: string;
  readonly hidden?: boolean;
  /** The task under which `longsight --help` lists it. */
  readonly group: CommandGroup;
  /** A command line that its own help shows, without `longsight`. */
  readonly example: string;
  /** What a person may do next, printed in terminals; `{0}` is the first argument of the command. */
  readonly next: string;
  readonly onStop: OnStop;
  readonly load: () => Promise<AddCommand>;
}

/**
 * The command of an analysis, which is made from its definition; name and summary stand here too, since `--help`
 * loads none.
 */
const analysis = (kind: AnalysisKind, name: string, summary: string): CommandEntry => ({
  ...{ name, usage: '[options] <model>', summary, onStop: 'begins anew', group: 'measure' },
  ...{ example: `${name} runs/recall`, next: 'of a run, figures in its report: longsight report {0}' },
  load: async () => (await import('./analyses/command.js')).analysisCommand(kind),
});

/** Every analysis; the compiler asks for those that are missing, and a test compares names and summaries. */
const ANALYSIS_COMMANDS: Readonly<Record<AnalysisKind, CommandEntry>> = {
  'attention-distance': analysis('attention-distance', 'attention-distance', 'how far back heads attend, in tokens'),
  drift: analysis('drift', 'drift', 'how far query and key weights of heads moved'),
  entropy: analysis('entropy', 'entropy', 'attention entropy of heads'),
  heads: analysis('heads', 'heads', 'retrieval heads by other definitions than trace'),
  influence: analysis('influence', 'influence', 'how far back inputs still matter: gradient norms by distance'),
  length: {
    ...analysis('length', 'length', 'loss by position and recall by distance beyond the trained length'),
    example: 'length runs/text --lengths 1k,2k --yarn 4',
  },
  limits: analysis('limits', 'constrain', 'who carries long range: limit the reach of some layers'),
  longppl: {
    ...analysis('longppl', 'longppl', 'perplexity over the tokens that need a long context'),
    example: 'longppl runs/text --texts book.txt',
  },
  masking: analysis('masking', 'mask', 'needle accuracy with heads switched off'),
  placement: {
    ...analysis('placement', 'place', 'which layers need full attention: limit them one after another, or learn gates'),
    example: 'place runs/full --full 2 --out placement.yaml',
    next: 'train the placements beside one another, with --out FILE: longsight study FILE',
  },
  probes: analysis('probes', 'probe', 'layer by layer, what the last token knows of the needle'),
};

const FIT: CommandEntry = {
  name: 'fit',
  usage: '[options] <data>',
  summary: 'fit a scaling law to a table of trained models',
  group: 'compare',
  example: 'fit runs/scaling --hold-out',
  next: 'in the report of a study: longsight report FOLDER',
  onStop: 'ends',
  load: async () => (await import('./analyses/fit.js')).addFit,
};

/** In the order of `longsight --help`. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'quickstart',
    usage: '[options]',
    summary: 'the study to begin with: window size and when long-range retrieval forms',
    group: 'begin',
    example: 'quickstart',
    next: 'open the report in a browser; a study of your own: longsight study FILE',
    onStop: 'resumes',
    load: async () => (await import('./commands/study.js')).addQuickstart,
  },
  {
    name: 'study',
    usage: '[options] <file>',
    summary: 'compare designs',
    group: 'compare',
    example: 'study preset:studies/quickstart --out runs/windows',
    next: 'open the report; who carries the recall: longsight analyze FOLDER; curves, live: longsight dashboard',
    onStop: 'resumes',
    load: async () => (await import('./commands/study.js')).addStudy,
  },
  {
    name: 'train',
    usage: '[options] <file>',
    summary: 'train one model',
    group: 'compare',
    example: 'train preset:recall --set train.steps=100',
    next: 'open the report; which heads look back: longsight trace RUN; curves, live: longsight dashboard',
    onStop: 'resumesByOption',
    load: async () => (await import('./commands/train.js')).addTrain,
  },
  {
    name: 'eval',
    usage: '[options] <model>',
    summary: 'measure a checkpoint',
    group: 'measure',
    example: 'eval runs/recall',
    next: 'which heads look back: longsight trace {0}',
    onStop: 'ends',
    load: async () => (await import('./commands/eval.js')).addEval,
  },
  {
    name: 'trace',
    usage: '[options] <model>',
    summary: 'find retrieval heads',
    group: 'measure',
    example: 'trace runs/recall',
    next: 'what is lost without them: longsight mask {0}',
    onStop: 'begins anew',
    load: async () => (await import('./commands/trace.js')).addTrace,
  },
  {
    name: 'generate',
    usage: '[options] <model>',
    summary: 'continue prompts',
    group: 'measure',
    example: 'generate runs/text --prompt "Call me" --max-tokens 100',
    next: 'the loss of a text: longsight eval {0} --texts FILE',
    onStop: 'begins anew',
    load: async () => (await import('./commands/generate.js')).addGenerate,
  },
  {
    name: 'ruler',
    usage: '',
    summary: 'long-context tasks: needles, tracking, counting, questions',
    group: 'measure',
    example: 'ruler run runs/text --out ruler --lengths 512 --samples 10',
    next: 'another length: the same command with --lengths; what is answered stays',
    onStop: 'resumes',
    load: async () => (await import('./commands/ruler.js')).addRuler,
  },
  {
    name: 'choice',
    usage: '[options] <model> <files...>',
    summary: 'multiple choice by log-likelihood',
    group: 'measure',
    example: 'choice runs/text questions.jsonl --out choices.jsonl',
    next: 'every choice with its log-likelihood: --out FILE',
    onStop: 'begins anew',
    load: async () => (await import('./commands/choice.js')).addChoice,
  },
  {
    name: 'report',
    usage: '[options] <folder>',
    summary: 'write the report of a run or a study',
    group: 'compare',
    example: 'report runs/windows',
    next: 'a site of it: longsight report {0} --site OUT; more figures: longsight analyze {0}',
    onStop: 'ends',
    load: async () => (await import('./commands/report.js')).addReport,
  },
  {
    name: 'dashboard',
    usage: '[options] [folders...]',
    summary: 'runs and studies in a browser, live',
    group: 'compare',
    example: 'dashboard runs',
    next: 'a site of what it shows: longsight report FOLDER --site OUT',
    onStop: 'serves',
    load: async () => (await import('./commands/dashboard.js')).addDashboard,
  },
  {
    name: 'playground',
    usage: '[options]',
    summary: 'two hybrids learn in your browser, side by side',
    group: 'begin',
    example: 'playground',
    next: 'the same in files, with reports: longsight quickstart',
    onStop: 'serves',
    load: async () => (await import('./commands/playground.js')).addPlayground,
  },
  {
    name: 'log',
    usage: '',
    summary: 'metrics of runs for TensorBoard, or as tables',
    group: 'compare',
    example: 'log export runs/windows --to csv --out tables',
    next: 'the same, live: longsight dashboard',
    onStop: 'ends',
    load: async () => (await import('./commands/log.js')).addLog,
  },
  {
    name: 'cost',
    usage: '[options] <config>',
    summary: 'parameters, FLOPs and cache bytes of a model',
    group: 'compare',
    example: 'cost preset:recall',
    next: 'train it: longsight train FILE',
    onStop: 'ends',
    load: async () => (await import('./commands/cost.js')).addCost,
  },
  {
    name: 'advise',
    usage: '[options] <studies...>',
    summary: 'which studied design fits a budget, and how sure that is',
    group: 'compare',
    example: 'advise runs/windows --context 64k --kv-budget 1GB --params 100M',
    next: 'what each design cost and came to: longsight report {0}',
    onStop: 'ends',
    load: async () => (await import('./commands/advise.js')).addAdvise,
  },
  {
    name: 'data',
    usage: '',
    summary: 'fetch corpora, make token shards of text',
    group: 'data',
    example: 'data prepare "texts/*.txt" --tokenizer bytes --out shards',
    next: 'name the folder in a run file: data: { kind: shards, path: FOLDER }',
    onStop: 'resumes',
    load: async () => (await import('./commands/data.js')).addData,
  },
  {
    name: 'tokenizer',
    usage: '',
    summary: 'train a tokenizer',
    group: 'data',
    example: 'tokenizer train text.txt --vocab-size 4096 --out vocabulary',
    next: 'longsight data prepare TEXTS --tokenizer FOLDER --out shards',
    onStop: 'begins anew',
    load: async () => (await import('./commands/tokenizer.js')).addTokenizer,
  },
  {
    name: 'inspect',
    usage: '[options] <folder>',
    summary: 'what a model saved by Transformers is, and what cannot be imported',
    group: 'exchange',
    example: 'inspect SmolLM2-135M',
    next: 'which heads look back: longsight trace {0}',
    onStop: 'ends',
    load: async () => (await import('./commands/inspect.js')).addInspect,
  },
  {
    name: 'parity',
    usage: '[options] <folder>',
    summary: 'compare an imported model with what Transformers computes',
    group: 'exchange',
    example: 'parity SmolLM2-135M',
    next: 'which heads look back: longsight trace {0}',
    onStop: 'ends',
    load: async () => (await import('./commands/parity.js')).addParity,
  },
  {
    name: 'export',
    usage: '[options] <model> <out>',
    summary: 'a trained model as a folder that Transformers loads',
    group: 'exchange',
    example: 'export runs/text exported',
    next: 'AutoModelForCausalLM.from_pretrained reads the folder',
    onStop: 'ends',
    load: async () => (await import('./commands/export.js')).addExport,
  },
  {
    name: 'doctor',
    usage: '[options]',
    summary: 'check the engines on this machine',
    group: 'begin',
    example: 'doctor',
    next: 'longsight quickstart',
    onStop: 'begins anew',
    load: async () => (await import('./commands/doctor.js')).addDoctor,
  },
  {
    name: 'worker',
    usage: '[options] <study> <run>',
    summary: '',
    group: 'begin',
    example: 'worker STUDY RUN',
    next: '',
    hidden: true,
    onStop: 'resumes',
    load: async () => (await import('./commands/worker.js')).addWorker,
  },
  {
    name: 'analyze',
    usage: '[options] <folder>',
    summary: 'all analyses of a run or a study, for its report',
    group: 'measure',
    example: 'analyze runs/recall --only entropy',
    next: 'longsight report {0}',
    onStop: 'keeps what is measured',
    load: async () => (await import('./analyses/analyze.js')).addAnalyze,
  },
  {
    name: 'completion',
    usage: '<shell>',
    summary: 'a script with which bash, zsh or fish completes commands and options',
    group: 'shell',
    example: 'completion bash',
    next: 'bash: source <(longsight completion bash), in ~/.bashrc to keep it',
    onStop: 'ends',
    load: async () => (await import('./commands/completion.js')).completionOf(COMMANDS),
  },
  ...[...Object.values(ANALYSIS_COMMANDS), FIT].sort((a, b) => (a.name < b.name ? -1 : 1)),
];
