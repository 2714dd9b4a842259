/** The special tokens around a text: the post-processors of `tokenizer.json`. */
import { DataError, showValue } from '../../core/index.js';
import type { PostProcessorConfig, PostProcessorStep } from './schema.js';

/** Token ids before and after those of a text. */
export interface Surroundings {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/**
 * The tokens that a post-processor puts around those of a text.
 * @throws DataError if a template does not hold the text once, or several processors add tokens
 */
export function surroundingsOf(config: PostProcessorConfig | null | undefined): Surroundings {
  if (config == null) return { before: [], after: [] };
  const steps = config.type === 'Sequence' ? config.processors : [config];
  const adding = steps.filter((step) => step.type !== 'ByteLevel');
  if (adding.length > 1) {
    const types = adding.map((step) => step.type).join(' and ');
    throw new DataError(`post_processor: several that add tokens (${types}) are not supported`);
  }
  return adding.map(stepOf)[0] ?? { before: [], after: [] };
}

function stepOf(step: PostProcessorStep): Surroundings {
  switch (step.type) {
    case 'ByteLevel':
      return { before: [], after: [] };
    case 'BertProcessing':
    case 'RobertaProcessing':
      return { before: [step.cls[1]], after: [step.sep[1]] };
    case 'TemplateProcessing': {
      const at = step.single.findIndex((piece) => 'Sequence' in piece);
      const isText = (piece: (typeof step.single)[number]) => 'Sequence' in piece && piece.Sequence.id === 'A';
      if (at < 0 || step.single.some((piece, i) => (i === at) !== isText(piece) || (i !== at && 'Sequence' in piece))) {
        throw new DataError(
          'post_processor: a template for single texts that does not hold the text once is not supported',
        );
      }
      const ids = (pieces: typeof step.single) =>
        pieces.flatMap((piece) => ('SpecialToken' in piece ? idsOf(step, piece.SpecialToken.id) : []));
      return { before: ids(step.single.slice(0, at)), after: ids(step.single.slice(at + 1)) };
    }
  }
}

function idsOf(step: PostProcessorStep & { type: 'TemplateProcessing' }, name: string): readonly number[] {
  const token = Object.hasOwn(step.special_tokens, name) ? step.special_tokens[name] : undefined;
  if (token === undefined) {
    throw new DataError(`post_processor: the template's ${showValue(name)} is not among its special_tokens`);
  }
  return token.ids;
}
