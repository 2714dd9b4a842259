/** `longsight export MODEL OUT`: a trained model as a folder that Transformers loads. */
import type { Command } from 'commander';
import {
  EXPORT_DTYPES,
  exportDType,
  exportHfModel,
  hasTokenizer,
  type ExportDType,
  type TokenizerOrigin,
} from '../../checkpoint/index.js';
import { dataTokenizer } from '../../data/index.js';
import { formatCount } from '../../core/index.js';
import { CHECKPOINT_USES, openModel, stopTokensOf, type OpenedModel } from '../../lab/index.js';
import { MODEL_ARGUMENT } from '../terminal/models.js';
import type { CliContext } from '../terminal/context.js';
import {
  parseChoice,
  addOutputOptions,
  addSetOption,
  positiveInteger,
  wholeNumber,
  type OutputFlags,
  type SetFlag,
} from '../terminal/options.js';
import { Output } from '../terminal/output.js';

interface Flags extends OutputFlags, SetFlag {
  readonly step?: number;
  readonly type?: string;
  readonly dtype?: ExportDType;
  readonly shardSize?: number;
}

/** Registers `longsight export`. */
export function addExport(program: Command, context: CliContext): void {
  const command = program
    .command('export')
    .summary('a trained model as a folder that Transformers loads')
    .description(
      'Writes config.json, safetensors and, where the model reads text, tokenizer.json. The class is the first of ' +
        'Transformers that computes exactly what the model does; what has no home in any of them is named.',
    )
    .argument('<model>', MODEL_ARGUMENT)
    .argument('<out>', 'folder to make')
    .option('--step <n>', 'the checkpoint of this step', (text) => wholeNumber('--step', text))
    .option('--type <model_type>', 'the class to export as, such as smollm3 or olmo_hybrid')
    .option(
      '--dtype <name>',
      `what tensors are stored in: ${EXPORT_DTYPES.join(', ')} (default: float32; of an imported model what its files hold)`,
      (text) => parseChoice('--dtype', EXPORT_DTYPES, text),
    )
    .option('--shard-size <bytes>', 'largest file of tensors (default: 5 GB)', (text) =>
      positiveInteger('--shard-size', text),
    );
  addOutputOptions(addSetOption(command)).action(async (path: string, out: string, flags: Flags) => {
    const model = openModel(path, { step: flags.step, set: flags.set, use: CHECKPOINT_USES.exporting });
    const tokenizer = tokenizerOf(model);
    const parameters = { get: (name: string) => model.parameter(name) };
    const result = await exportHfModel(out, model.config, parameters, {
      ...{ tokenizer, dtype: flags.dtype ?? exportDType(model.storedTypes), endTokens: stopTokensOf(model) },
      imported: model.run === null ? model.source : null,
      ...(flags.type === undefined ? {} : { modelType: flags.type }),
      ...(flags.shardSize === undefined ? {} : { shardBytes: flags.shardSize }),
    });
    const text = tokenizer === null ? '; no tokenizer: the model does not read text' : '';
    new Output(context, flags).result(
      `${out}: ${result.architecture}, ${formatCount(result.bytes)} bytes of tensors${text}`,
      { event: 'export', ...result },
    );
  });
}

/** The tokenizer of an imported model, or of the texts that a run was trained on. */
function tokenizerOf({ source: path, run }: OpenedModel): TokenizerOrigin {
  if (run === null) return hasTokenizer(path) ? { folder: path } : null;
  return dataTokenizer(run.run.data);
}
