/** `longsight drift`: how far query and key weights of heads moved. */
import type { Command } from 'commander';
import { weightDrift, type DriftResult, type HeadIndex } from '../../analysis/index.js';
import { ConfigError, writeCsv } from '../../core/index.js';
import { parameterSpecs } from '../../model/index.js';
import type { CliContext } from '../context.js';
import { Output, textTable } from '../output.js';
import {
  addAnalysisOptions,
  HEADS_HELP,
  keepFinding,
  MODEL_ARGUMENT,
  nameOf,
  openSubject,
  openSubjects,
  parseHeads,
  show,
  type AnalysisFlags,
  type Subject,
} from './subject.js';

interface Flags extends AnalysisFlags {
  readonly heads?: HeadIndex[];
  readonly reference?: string;
}

/** Registers `longsight drift`. */
export function addDrift(program: Command, context: CliContext): void {
  const command = program
    .command('drift')
    .summary('how far query and key weights of heads moved')
    .description(
      "Distances of each head's query and key weights from a reference: for a run every checkpoint from its last one, " +
        'unless --reference names a checkpoint or another model. "scores" is the distance of Wq Wk^T, which does not ' +
        'change when queries and keys turn together.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .option('--reference <model>', 'checkpoint folder, or model saved by Transformers')
    .option('--heads <list>', `${HEADS_HELP} (default: all)`, parseHeads);
  addAnalysisOptions(command).action((path: string, flags: Flags) => drift(path, flags, context));
}

/** What `reference` is called in records: its step, or its path. */
export const referenceName = ({ step, path }: Subject): number | string => step ?? path;

function drift(path: string, flags: Flags, context: CliContext): void {
  const output = new Output(context, flags);
  const subjects = openSubjects(path, flags);
  const reference =
    flags.reference === undefined ? (subjects.at(-1) as Subject) : openSubject(flags.reference, { set: [] });
  if (flags.reference === undefined && subjects.length < 2) {
    throw new ConfigError(`${path} is a single model; name what to compare it with by --reference`);
  }
  checkSameShapes(subjects[0] as Subject, reference);
  const base = reference.parameters();
  // Reports show the way to the run's own end.
  const keep = flags.reference === undefined && flags.heads === undefined;
  const rows: (string | number | null)[][] = [];
  for (const subject of subjects) {
    context.signal.throwIfAborted();
    const result = weightDrift(subject.model, subject.parameters(), base, flags.heads);
    const { step, tokens } = subject;
    const record = { reference: referenceName(reference), ...result };
    const file = keep ? keepFinding(subject, flags, 'drift', record, reference) : null;
    const title = `${nameOf(subject)}, relative to ${nameOf(reference)}`;
    output.result(`${title}\n${describe(result)}\n`, { event: 'drift', step, tokens, file, ...record });
    for (const h of result.heads) {
      rows.push([step, tokens, h.layer, h.head, h.qL2, h.kL2, h.qRel, h.kRel, h.qkL2, h.qkRel, h.scoreRel]);
    }
  }
  const columns = 'step tokens layer head q_l2 k_l2 q_rel_l2 k_rel_l2 qk_l2 qk_rel_l2 score_rel'.split(' ');
  writeCsv(flags.csv, columns, rows);
}

function describe(result: DriftResult): string {
  const table = result.heads.map((h) => [
    `${h.layer}:${h.head}`,
    ...[h.qRel, h.kRel, h.qkRel, h.scoreRel].map((v) => show(v)),
  ]);
  const means = ['mean', '', '', show(result.qkRel), show(result.scoreRel)];
  return textTable([['head', 'q', 'k', 'q+k', 'scores'], ...table, means], new Set([1, 2, 3, 4]));
}

function checkSameShapes(a: Subject, b: Subject): void {
  const shapes = (s: Subject) => new Map(parameterSpecs(s.model).map((p) => [p.name, p.shape.join(',')]));
  const [own, other] = [shapes(a), shapes(b)];
  const heads = (s: Subject) => `${s.model.numHeads} query and ${s.model.numKvHeads} key heads of ${s.model.headDim}`;
  for (const [name, shape] of own) {
    if (!name.endsWith('attn.wqkv') || (other.get(name) === shape && heads(a) === heads(b))) continue;
    throw new ConfigError(
      `${a.path} and ${b.path} are different models: ${name} is [${shape}] with ${heads(a)}, and ` +
        `[${other.get(name) ?? 'missing'}] with ${heads(b)}; compare checkpoints of one model`,
    );
  }
}
