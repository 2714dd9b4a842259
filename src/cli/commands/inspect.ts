/**
 * `longsight inspect FOLDER`: what a model saved by Transformers is, what it costs, and what of it cannot be imported.
 */
import type { Command } from 'commander';
import { inspectHfModel, type HfInspection } from '../../checkpoint/index.js';
import { DataError, formatCount, formatShape } from '../../core/index.js';
import { CACHE_BYTES, modelCost, printPattern, type ModelConfig, type ModelCost } from '../../model/index.js';
import { cacheRow } from '../terminal/cache-size.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import { describeActive, describeExperts } from '../terminal/experts.js';
import { addOutputOptions, positiveInteger, type OutputFlags } from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';

interface Flags extends OutputFlags {
  readonly seqLen: number;
}

/** More problems of one kind than this are counted. */
const SHOWN = 10;

/** Registers `longsight inspect`. */
export function addInspect(program: Command, context: CliContext): void {
  const command = program
    .command('inspect')
    .summary('what a model saved by Transformers is, and what cannot be imported')
    .description(
      'Prints layers, sizes and costs of a Hugging Face folder (config.json and safetensors), and by name everything that cannot be ' +
        'imported. Reads no weights but a stored head beside a tied embedding, and buffers, to compare them. Exit code 1 if the model cannot ' +
        'be imported, be it for its model_type; 2 if a file is missing, damaged or not what it should be.',
    )
    .argument('<folder>', 'folder of a model saved by Transformers')
    .option('--seq-len <tokens>', 'sequence length of the costs', (text) => positiveInteger('--seq-len', text), 2048);
  addOutputOptions(command).action((folder: string, flags: Flags) => {
    const output = new Output(context, flags);
    const inspection = inspected(folder);
    if (typeof inspection === 'string') {
      output.result(inspection, { event: 'inspect', folder, unsupported: [inspection], importable: false });
      return context.exitWith(EXIT.failed);
    }
    const problems = problemsOf(inspection);
    const cost = modelCost(inspection.config, flags.seqLen, { cacheElementBytes: CACHE_BYTES.bf16 });
    const verdict = problems.length === 0 ? ['Everything can be imported.'] : problems;
    const remarks = [...inspection.notes.map((note) => `note: ${note}`), ...verdict];
    const text = `${describe(inspection, cost)}\n\n${remarks.join('\n')}`;
    output.result(text, {
      event: 'inspect',
      ...inspection,
      layers: printPattern(inspection.config.layers),
      cost,
      cacheDtype: 'bf16',
      importable: problems.length === 0,
    });
    if (problems.length > 0) context.exitWith(EXIT.failed);
  });
}

/** What the folder holds; a sentence where its `model_type` is none that can be read. */
function inspected(folder: string): HfInspection | string {
  try {
    return inspectHfModel(folder);
  } catch (error) {
    if (error instanceof DataError && error.details['modelType'] !== undefined) return error.message;
    throw error;
  }
}

function problemsOf({ unsupported, tensors }: HfInspection): string[] {
  const list = (title: string, items: readonly string[]) => [
    ...items.slice(0, SHOWN).map((item) => `${title}: ${item}`),
    ...(items.length > SHOWN ? [`${title}: ${items.length - SHOWN} more`] : []),
  ];
  // Without what is unsupported the model is another one, and its tensors say nothing.
  if (unsupported.length > 0) return list('not supported', unsupported);
  return [
    ...list(
      'missing tensor',
      tensors.missing.map(({ name, shape }) => `${name} ${formatShape(shape)}`),
    ),
    ...list(
      'wrong shape',
      tensors.misshapen.map((t) => `${t.name} is ${formatShape(t.found)}, should be ${formatShape(t.shape)}`),
    ),
    ...list(
      'other values than config.json gives',
      tensors.differing.map(({ name, why }) => `${name} ${why}`),
    ),
    ...list('no place for tensor', tensors.extra),
  ];
}

const plainHeads = ({ numHeads, headDim, numKvHeads, valueDim }: ModelConfig): string =>
  `${numHeads} of ${headDim}, ${numKvHeads} key/value heads${valueDim === null ? '' : `, values of ${valueDim}`}`;

const latentHeads = ({ numHeads }: ModelConfig, mla: NonNullable<ModelConfig['mla']>): string =>
  `${numHeads} of ${mla.nopeDim} + ${mla.ropeDim}, values of ${mla.valueDim}, latents of ${mla.latentRank}`;

function describe({ modelType, config, tensors, quantization, held }: HfInspection, cost: ModelCost): string {
  const inMemory = Object.entries(held).map(([type, n]) => `${formatCount(n)} bytes of ${type}`);
  const bytes = `${formatCount(tensors.bytes)} bytes (${tensors.types.join(', ')})`;
  const rows: [string, string][] = [
    ['model type', modelType],
    ['layers', printPattern(config.layers)],
    ['width', `${config.hiddenSize}, MLP ${config.intermediateSize}, vocabulary ${config.vocabSize}`],
    ...(config.layers.some(({ mixer }) => mixer === 'mla')
      ? []
      : [['heads', plainHeads(config)] satisfies [string, string]]),
    ...(config.mla === undefined
      ? []
      : [['heads on latents', latentHeads(config, config.mla)] satisfies [string, string]]),
    ...describeExperts(config),
    ['parameters', formatCount(cost.parameters.total)],
    ...describeActive(config, cost),
    ['  without embedding and head', formatCount(cost.parameters.nonEmbedding)],
    ['tensors', `${tensors.count}, ${bytes}`],
    ...(quantization === null ? [] : [['quantized', quantization] satisfies [string, string]]),
    ['weights in memory', inMemory.join(', ')],
    ['forward FLOPs per token', formatCount(cost.forwardFlops)],
    cacheRow(config, cost, 'bf16'),
  ];
  return textTable(rows);
}
