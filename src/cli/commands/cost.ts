/** `longsight cost CONFIG`: what a model costs, before it is built. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import {
  CACHE_BYTES,
  checkContext,
  modelCost,
  movingWindows,
  PRESET_NAMES,
  printPattern,
  resolveModelConfig,
  type CacheDtype,
  type ModelConfig,
  type ModelCost,
} from '../../model/index.js';
import { at, formatCount, isPlain, parseContexts } from '../../core/index.js';
import { locate, readYamlFile, resolveRunConfig } from '../../lab/index.js';
import { windowShares, type TrainConfig } from '../../train/index.js';
import { cacheDtypeOption, cacheRow } from '../terminal/cache-size.js';
import type { CliContext } from '../terminal/context.js';
import { describeActive, describeExperts } from '../terminal/experts.js';
import { addOutputOptions, positiveInteger, type OutputFlags } from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';
import { givenFile } from '../terminal/preset-files.js';
import { dirname } from 'node:path';

interface Flags extends OutputFlags {
  readonly seqLen?: number;
  /** Tokens that the bytes of the cache are for (default: the sequence length). */
  readonly context?: readonly number[];
  readonly cacheDtype: CacheDtype;
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
    )
    .option(
      '--context <tokens>',
      'lengths that the bytes of the cache are for, such as 4k,65536,1M; k is 1,024 and M its square (default: the sequence length)',
      (text) => parseContexts('--context', text),
    )
    .addOption(cacheDtypeOption());
  addOutputOptions(command)
    .addHelpText('after', `\nPresets: ${PRESET_NAMES.join(', ')}`)
    .action((config: string, flags: Flags) => cost(config, flags, context));
}

function cost(config: string, flags: Flags, context: CliContext): void {
  const { model, seqLen, train } = readModel(config);
  const shares = train === null ? {} : { windowShares: windowShares(train) };
  const { cacheDtype } = flags;
  const costAt = (tokens: number): ModelCost =>
    modelCost(model, tokens, { ...shares, cacheElementBytes: CACHE_BYTES[cacheDtype] });
  const result = costAt(flags.seqLen ?? seqLen ?? DEFAULT_SEQ_LEN);
  flags.context?.forEach((tokens) => checkContext(model, tokens));
  const caches = flags.context?.map(costAt) ?? [result];
  const contexts = caches.map((c) => ({
    tokens: c.seqLen,
    cacheBytes: c.cacheBytes,
    layers: c.layers.map((layer) => layer.cacheBytes),
  }));
  const text = describe(model, result, { caches, cacheDtype });
  new Output(context, flags).result(text, { model, cost: result, cacheDtype, contexts });
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

function describe(
  model: ModelConfig,
  result: ModelCost,
  { caches, cacheDtype }: { readonly caches: readonly ModelCost[]; readonly cacheDtype: CacheDtype },
): string {
  const { parameters, seqLen } = result;
  const moves = movingWindows(model).length > 0;
  const totals = [
    ['layers', printPattern(model.layers)],
    ...describeExperts(model),
    ['parameters', formatCount(parameters.total)],
    ...describeActive(model, result),
    ['  without embedding and head', formatCount(parameters.nonEmbedding)],
    ['tokens of a sequence', formatCount(seqLen)],
    ['forward FLOPs per token', formatCount(result.forwardFlops)],
    [`training FLOPs per token${moves ? ', mean over its windows' : ''}`, formatCount(result.trainFlops)],
    ...caches.map((cache) => cacheRow(model, cache, cacheDtype)),
  ];
  const costs = ['parameters', 'projections', 'sequence', 'MLP', 'FLOPs per token'];
  const head = ['layer', 'kind', ...costs, ...caches.map((c) => `cache bytes at ${formatCount(c.seqLen)}`)];
  const rows = result.layers.map(({ layer, label, parameters: p, flops }) => [
    String(layer),
    label,
    ...[p.total, flops.projections, flops.sequence, flops.mlp, flops.total].map(formatCount),
    ...caches.map((cache) => formatCount(at(cache.layers, layer).cacheBytes)),
  ]);
  return `${textTable(totals)}\n\n${textTable([head, ...rows], new Set(head.map((_, i) => i).slice(2)))}`;
}
