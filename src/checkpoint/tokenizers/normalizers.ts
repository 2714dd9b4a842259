/** What changes a text before it is cut: the normalizers of `tokenizer.json`. */
import { byteCharacters } from '../bpe/bytes.js';
import { finderOf } from './pattern.js';
import type { NormalizerConfig, NormalizerStep } from './schema.js';
import { ACCENTS, BERT_ACCENTS, BERT_CONTROLS } from '../bpe/unicode-tables.js';
import { normalForm, type NormalForm } from '../bpe/unicode.js';

/** Changes a text before it is cut into words. */
export type Normalizer = (text: string) => string;

/** The steps of a normalizer, in order. */
export function normalizerSteps(config: NormalizerConfig | null | undefined): readonly NormalizerStep[] {
  if (config == null) return [];
  return config.type === 'Sequence' ? config.normalizers : [config];
}

/** The normalizer that some steps make up; null if they leave every text as it is. */
export function normalizerOf(steps: readonly NormalizerStep[]): Normalizer | null {
  const all = steps.map(stepOf);
  return all.length === 0 ? null : (text) => all.reduce((value, step) => (value === '' ? value : step(value)), text);
}

/** The form that `steps` amount to, if that is all that they do. */
export function onlyForm(steps: readonly NormalizerStep[]): NormalForm | null {
  const type = steps.length === 1 ? steps[0]?.type : undefined;
  return type === 'NFC' || type === 'NFD' || type === 'NFKC' || type === 'NFKD' ? type : null;
}

/** Whether the first character of the result may stand for another than the first of the text. */
export function mayMoveStart(step: NormalizerStep): boolean {
  if (step.type === 'Replace') {
    return !('String' in step.pattern) || [...step.pattern.String].length !== 1 || step.content === '';
  }
  return ['Strip', 'StripAccents', 'BertNormalizer', 'Nmt'].includes(step.type);
}

const START_SPACE = /^\p{White_Space}+/u;
const END_SPACE = /\p{White_Space}/u;
const accents = new RegExp(`[${ACCENTS}]`, 'gu');

function stepOf(step: NormalizerStep): Normalizer {
  switch (step.type) {
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return (text) => normalForm(text, step.type);
    case 'Lowercase':
      return lowercase;
    case 'Strip':
      return (text) => {
        const left = step.strip_left ? text.replace(START_SPACE, '') : text;
        return step.strip_right ? left.slice(0, spaceStart(left)) : left;
      };
    case 'StripAccents':
      return (text) => text.replace(accents, '');
    case 'Replace': {
      const find = finderOf(step.pattern);
      return (text) => replaceFound(text, find, step.content);
    }
    case 'Prepend':
      return (text) => step.prepend + text;
    case 'BertNormalizer':
      return bert(step);
    case 'Nmt':
      return (text) => text.replace(NMT_CONTROLS, '').replace(NMT_SPACES, ' ');
    case 'ByteLevel':
      return (text) => byteCharacters(Buffer.from(text));
  }
}

/** Where the white space at the end of `text` begins. */
export function spaceStart(text: string): number {
  let at = text.length;
  while (at > 0 && END_SPACE.test(text.charAt(at - 1))) at--;
  return at;
}

/** `text` with what is found replaced. */
export function replaceFound(text: string, find: ReturnType<typeof finderOf>, content: string): string {
  let result = '';
  find(text, (from, to, isMatch) => (result += isMatch ? content : text.slice(from, to)));
  return result;
}

/** Character by character: a sigma at the end of a word is no other letter. */
function lowercase(text: string): string {
  if (!text.includes('\u03a3')) return text.toLowerCase();
  return Array.from(text, (char) => char.toLowerCase()).join('');
}

// eslint-disable-next-line no-control-regex
const NMT_CONTROLS = /[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]/g;
const NMT_SPACES = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g;

const bertControls = new RegExp(`[${BERT_CONTROLS}]`, 'gu');
const bertAccents = new RegExp(`[${BERT_ACCENTS}]`, 'gu');
const IDEOGRAPHS =
  /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

function bert(config: NormalizerStep & { type: 'BertNormalizer' }): Normalizer {
  const stripsAccents = config.strip_accents ?? config.lowercase;
  return (given) => {
    let text = given;
    if (config.clean_text) text = text.replace(bertControls, '').replace(/\p{White_Space}/gu, ' ');
    if (config.handle_chinese_chars) text = text.replace(IDEOGRAPHS, ' $& ');
    if (stripsAccents) text = normalForm(text, 'NFD').replace(bertAccents, '');
    return config.lowercase ? lowercase(text) : text;
  };
}
