/** How tokens become text: the decoders of `tokenizer.json`. */
import { append } from '../../core/index.js';
import { CHARACTER_BYTES } from '../bpe/bytes.js';
import { replaceFound } from './normalizers.js';
import { finderOf } from './pattern.js';
import type { DecoderConfig, DecoderStep } from './schema.js';

/** Makes text of tokens. */
export type Decoder = (tokens: readonly string[]) => string;
type Step = (tokens: readonly string[]) => readonly string[];

/** The decoder that a `tokenizer.json` describes; without one, tokens are joined by spaces. */
export function decoderOf(config: DecoderConfig | null | undefined): Decoder {
  if (config == null) return (tokens) => tokens.join(' ');
  const steps = (config.type === 'Sequence' ? config.decoders : [config]).map(stepOf);
  return (tokens) => steps.reduce((value, step) => step(value), tokens).join('');
}

function stepOf(step: DecoderStep): Step {
  switch (step.type) {
    case 'ByteLevel':
      return (tokens) => [Buffer.concat(tokens.map(bytesOf)).toString()];
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'ByteFallback':
      return byteFallback;
    case 'Metaspace': {
      const first = step.prepend_scheme === 'never' ? ' ' : '';
      return (tokens) => tokens.map((token, i) => token.replaceAll(step.replacement, i === 0 ? first : ' '));
    }
    case 'Replace': {
      const find = finderOf(step.pattern);
      return (tokens) => tokens.map((token) => replaceFound(token, find, step.content));
    }
    case 'Strip':
      return (tokens) => tokens.map((token) => strip(token, step));
    case 'WordPiece':
      return (tokens) =>
        tokens.map((token, i) => {
          let text = token;
          if (i > 0) text = token.startsWith(step.prefix) ? token.slice(step.prefix.length) : ` ${token}`;
          return step.cleanup ? cleanUp(text) : text;
        });
    case 'BPEDecoder':
      return (tokens) => tokens.map((token, i) => token.replaceAll(step.suffix, i === tokens.length - 1 ? '' : ' '));
    case 'CTC':
      return (tokens) =>
        tokens
          .filter((token, i) => token !== tokens[i - 1])
          .map((token) => token.replaceAll(step.pad_token, ''))
          .map((text) => (step.cleanup ? cleanUp(text).replaceAll(step.word_delimiter_token, ' ') : text))
          .filter((text) => text !== '');
  }
}

/** The bytes that a token's characters stand for; of a token with others, its own text. */
function bytesOf(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = CHARACTER_BYTES.get(char);
    if (byte === undefined) return Buffer.from(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

const BYTE_TOKEN = /^<0x([0-9a-fA-F]{2}|\+[0-9a-fA-F])>$/;

/** Runs of byte tokens become their text; each token of a run that is no UTF-8 becomes U+FFFD. */
function byteFallback(tokens: readonly string[]): string[] {
  const texts: string[] = [];
  let run: number[] = [];
  const flush = () => {
    try {
      if (run.length > 0) texts.push(utf8.decode(Uint8Array.from(run)));
    } catch {
      append(
        texts,
        run.map(() => '\ufffd'),
      );
    }
    run = [];
  };
  for (const token of tokens) {
    const byte = BYTE_TOKEN.exec(token)?.[1];
    if (byte !== undefined) run.push(parseInt(byte, 16));
    else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function strip(token: string, { content, start, stop }: DecoderStep & { type: 'Strip' }): string {
  const chars = [...token];
  let [from, to] = [0, chars.length];
  while (from < start && chars[from] === content) from++;
  while (chars.length - to < stop && to > from && chars[to - 1] === content) to--;
  return chars.slice(from, to).join('');
}

/** What WordPiece's decoder takes for spaces that were not in the text. */
function cleanUp(text: string): string {
  return [...CLEAN_UPS.slice(0, 7), [' do not', " don't"] as const, ...CLEAN_UPS.slice(7)].reduce(
    (value, [from, to]) => value.replaceAll(from, to),
    text,
  );
}

const CLEAN_UPS: readonly (readonly [string, string])[] = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
];

/** The same as Transformers does where `tokenizer_config.json` says `clean_up_tokenization_spaces`. */
export function cleanUpSpaces(text: string): string {
  return CLEAN_UPS.reduce((value, [from, to]) => value.replaceAll(from, to), text);
}
