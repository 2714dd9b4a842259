/** `longsight cost CONFIG`: what a model costs, before it is built. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import {
  modelCost,
  movingWindows,
  PRESET_NAMES,
  printPattern,
  resolveModelConfig,
  type ModelConfig,
  type ModelCost,
} from '../../model/index.js';
import { formatCount, isPlain } from '../../core/index.js';
import { locate, readYamlFile, resolveRunConfig } from '../../lab/index.js';
import { windowShares, type TrainConfig } from '../../train/index.js';
import type { CliContext } from '../terminal/context.js';
import { describeActive, describeExperts } from '../terminal/experts.js';
import { addOutputOptions, positiveInteger, type OutputFlags } from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';
import { givenFile } from '../terminal/preset-files.js';
import { dirname } from 'node:path';

interface Flags extends OutputFlags {
  readonly seqLen?: number;
}

const DEFAULT_SEQ_LEN = 2048;

/** Registers `longsight cost`. */
export function addCost(program: Command, context: CliContext): void {
  const command = program
    .command('cost')
    .summary('parameters, FLOPs and cache bytes of a model')
    .description(
      'Prints parameters, forward and training FLOPs per token, and bytes of key/value cache, in all and by layer. FLOPs ' +
        'count matrix products, a multiply-add as 2.',
    )
    .argument(
      '<config>',
      'run file (preset:NAME for one of the package), file with a model configuration alone, or name of a model preset',
    )
    .option('--seq-len <tokens>', `sequence length (default: that of the run file, or ${DEFAULT_SEQ_LEN})`, (text) =>
      positiveInteger('--seq-len', text),
    );
  addOutputOptions(command)
    .addHelpText('after', `\nPresets: ${PRESET_NAMES.join(', ')}`)
    .action((config: string, flags: Flags) => cost(config, flags, context));
}

function cost(config: string, flags: Flags, context: CliContext): void {
  const { model, seqLen, train } = readModel(config);
  const shares = train === null ? {} : { windowShares: windowShares(train) };
  const result = modelCost(model, flags.seqLen ?? seqLen ?? DEFAULT_SEQ_LEN, shares);
  new Output(context, flags).result(describe(model, result), { model, cost: result });
}

function readModel(config: string): {
  readonly model: ModelConfig;
  readonly seqLen: number | null;
  readonly train: TrainConfig | null;
} {
  if (!existsSync(config) && PRESET_NAMES.includes(config))
    return { model: resolveModelConfig({ preset: config }), seqLen: null, train: null };
  const file = readYamlFile(givenFile(config));
  if (isPlain(file.value) && 'model' in file.value) {
    const run = resolveRunConfig(file.value, { where: file.path, baseDir: dirname(file.path), file });
    return { model: run.model, seqLen: run.train.seqLen, train: run.train };
  }
  return { model: locate(file, [], () => resolveModelConfig(file.value)), seqLen: null, train: null };
}

function describe(model: ModelConfig, result: ModelCost): string {
  const { parameters, seqLen } = result;
  const moves = movingWindows(model).length > 0;
  const totals = [
    ['layers', printPattern(model.layers)],
    ...describeExperts(model),
    ['parameters', formatCount(parameters.total)],
    ...describeActive(model, result),
    ['  without embedding and head', formatCount(parameters.nonEmbedding)],
    ['forward FLOPs per token', formatCount(result.forwardFlops)],
    [`training FLOPs per token${moves ? ', mean over its windows' : ''}`, formatCount(result.trainFlops)],
    [`cache bytes at ${formatCount(seqLen)} tokens`, formatCount(result.cacheBytes)],
  ];
  const head = ['layer', 'kind', 'parameters', 'projections', 'sequence', 'MLP', 'FLOPs per token', 'cache bytes'];
  const rows = result.layers.map(({ layer, label, parameters: p, flops, cacheBytes }) => [
    String(layer),
    label,
    ...[p.total, flops.projections, flops.sequence, flops.mlp, flops.total, cacheBytes].map(formatCount),
  ]);
  return `${textTable(totals)}\n\n${textTable([head, ...rows], new Set([2, 3, 4, 5, 6, 7]))}`;
}
