/** `longsight parity FOLDER`: an imported model against what Transformers computed with it. */
import type { Command } from 'commander';
import type { ParityResult, ParityRow } from '../../analysis/index.js';
import { openParity, PARITY_TOLERANCES } from '../../lab/index.js';
import { withEngine } from '../terminal/models.js';
import type { CliContext } from '../terminal/context.js';
import { EXIT } from '../terminal/errors.js';
import {
  addEngineOptions,
  addOutputOptions,
  addWeightsOption,
  positiveNumber,
  type EngineFlags,
  type OutputFlags,
  type WeightsFlag,
} from '../terminal/options.js';
import { Output, textTable } from '../terminal/output.js';

interface Flags extends OutputFlags, EngineFlags, WeightsFlag {
  readonly expected?: string;
  readonly tolerance: number;
  readonly gradientTolerance: number;
}

/** Registers `longsight parity`. */
export function addParity(program: Command, context: CliContext): void {
  const number = (option: string) => (text: string) => positiveNumber(option, text);
  const command = program
    .command('parity')
    .summary('compare an imported model with what Transformers computes')
    .description(
      'Runs the model on the input_ids of a file of expected values and prints the worst error of each: logits, hidden states, ' +
        'attention maps, loss, gradient norms. docs/hugging-face.md has the script that writes such a file. Exit code 1 past the tolerance.',
    )
    .argument('<folder>', 'folder of a model saved by Transformers')
    .option('--expected <file>', 'expected values (default: expected.safetensors in the folder)')
    .option(
      '--tolerance <x>',
      'largest error, relative to the largest expected value where that is above 1',
      number('--tolerance'),
      PARITY_TOLERANCES.tolerance,
    )
    .option(
      '--gradient-tolerance <x>',
      'largest relative error of gradient norms',
      number('--gradient-tolerance'),
      PARITY_TOLERANCES.gradientTolerance,
    );
  addOutputOptions(addWeightsOption(addEngineOptions(command))).action((folder: string, flags: Flags) =>
    parity(folder, flags, context),
  );
}

async function parity(folder: string, flags: Flags, context: CliContext): Promise<void> {
  const { tolerance, gradientTolerance } = flags;
  const compare = openParity(folder, flags.expected, flags.weights);
  const output = new Output(context, flags);
  const result = await withEngine(null, flags, output, (engine) => compare(engine, { tolerance, gradientTolerance }));
  output.result(describe(result), { event: 'parity', folder, ...result });
  if (!result.passed) context.exitWith(EXIT.failed);
}

/** Within the tolerance or not, and how far float32 is from float64 where that was asked. */
function verdictOn({ passed, tolerance, float64 }: ParityRow): string {
  if (float64 === undefined) return passed ? 'ok' : `past ${tolerance}`;
  const distances = `from float64: expected ${show(float64.expected)}, ours ${show(float64.ours)}`;
  return passed ? `ok, float32 is no better (${distances})` : `past ${tolerance} (${distances})`;
}

const show = (error: number): string => error.toExponential(1);

function describe({ rows, skipped, passed, sequences, seqLen }: ParityResult): string {
  const isGradient = ({ name }: ParityRow) => name.startsWith('gradnorm.');
  const gradients = rows.filter(isGradient).sort((a, b) => b.worstRelative - a.worstRelative);
  const shown = [
    ...rows.filter((r) => !isGradient(r)).map((row) => ({ label: row.name, row })),
    // Of gradient norms the worst one, and every other that is past the tolerance.
    ...gradients
      .filter((row, i) => i === 0 || !row.passed)
      .map((row, i) => ({
        label: i === 0 ? `${gradients.length} gradient norms, worst: ${row.name.slice(9)}` : row.name,
        row,
      })),
  ];
  const table = textTable(
    [
      ['expected', 'absolute', 'relative', ''],
      ...shown.map(({ label, row }) => [label, show(row.worstAbsolute), show(row.worstRelative), verdictOn(row)]),
    ],
    new Set([1, 2]),
  );
  const left = skipped.map(({ name, why }) => `not compared: ${name}: ${why}`);
  const explained = rows.filter((row) => row.passed && row.float64 !== undefined).length;
  const within =
    explained === 0 ? 'all within the tolerance' : `${explained} past the tolerance, as float32 is; the rest within it`;
  const verdict = `${sequences} x ${seqLen} tokens: ${passed ? within : 'not within the tolerance'}`;
  return [table, ...left, verdict].join('\n');
}
