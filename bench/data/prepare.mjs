// node bench/data/prepare.mjs [--mb N] [--workers N] [--python PATH] [--rounds N] [--folder DIR] [--text FILE.jsonl --tokenizer FOLDER]
//
// Throughput and peak memory of `data prepare` on N MB of text: paragraphs of the named corpora in random order, one document a line
// of JSONL; with --text the first N MB of that file, such as the C corpus of `data fetch linux-6.12`, with its own vocabulary. With --python (one that has `tokenizers`) the same documents are encoded by the Rust library in turns, on one thread, by
// `encode_batch_fast`, reading, JSON and writing of tokens included as they are here. The last line is JSON.
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openCorpus, CORPUS_NAMES } from '../../dist/data/index.js';

const here = dirname(fileURLToPath(import.meta.url));
const { values: flags } = parseArgs({
  options: {
    mb: { type: 'string', default: '100' },
    vocab: { type: 'string', default: '16384' },
    workers: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '1' },
    text: { type: 'string' },
    tokenizer: { type: 'string' },
    python: { type: 'string' },
    folder: { type: 'string', default: tmpdir() },
  },
});
const folder = mkdtempSync(join(flags.folder, 'longsight-bench-'));
const cli = join(here, '..', '..', 'dist', 'cli', 'main.js');

/** Paragraphs in random order, the same every time, until `bytes` are written. */
function writeText(path, bytes) {
  const paragraphs = CORPUS_NAMES.flatMap((name) => {
    try {
      return openCorpus(name).text().split(/\n\n+/);
    } catch {
      return [];
    }
  }).filter((text) => text.length > 40);
  const fd = openSync(path, 'w');
  let state = 12345;
  const next = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32;
  for (let written = 0; written < bytes;) {
    let part = '';
    while (part.length < 2 ** 20) {
      const count = 1 + Math.floor(next() * 20);
      const text = Array.from({ length: count }, () => paragraphs[Math.floor(next() * paragraphs.length)]).join('\n\n');
      part += JSON.stringify({ text }) + '\n';
    }
    written += writeSync(fd, part);
  }
  closeSync(fd);
}

/** The first `bytes` bytes of a file, up to the end of a line. */
function copyLines(from, to, bytes) {
  const whole = readFileSync(from);
  writeFileSync(to, whole.subarray(0, whole.lastIndexOf(10, Math.min(bytes, whole.length) - 1) + 1));
}

function run(command, args) {
  const measured = spawnSync('bash', ['-c', 'exec "$@"', 'bash', command, ...args], {
    encoding: 'utf8',
    env: { ...process.env, TOKENIZERS_PARALLELISM: 'false', RAYON_NUM_THREADS: '1' },
    maxBuffer: 2 ** 28,
  });
  if (measured.status !== 0) throw new Error(`${command} ended with ${measured.status}: ${measured.stderr}`);
  return JSON.parse(measured.stdout.trim().split('\n').at(-1));
}

try {
  const text = join(folder, 'text.jsonl');
  const vocabulary = flags.tokenizer ?? join(folder, 'vocabulary');
  if (flags.text === undefined) writeText(text, Number(flags.mb) * 1e6);
  else copyLines(flags.text, text, Number(flags.mb) * 1e6);
  const megabytes = statSync(text).size / 1e6;
  if (flags.tokenizer === undefined) {
    const how = ['--corpus', 'moby-dick', '--vocab-size', flags.vocab, '--out', vocabulary, '--json'];
    run(process.execPath, [cli, 'tokenizer', 'train', ...how]);
  }
  const rows = [];
  for (let round = 0; round < Number(flags.rounds); round++) {
    const out = join(folder, `shards-${round}`);
    const own = run(process.execPath, [join(here, 'measured.mjs'), text, vocabulary, out, flags.workers]);
    rmSync(out, { recursive: true });
    const peer = flags.python && run(flags.python, [join(here, 'peer.py'), text, vocabulary, join(folder, 'peer.bin')]);
    rows.push({ own, peer });
    const show = ({ seconds, cpuSeconds, tokens, peakMb }) =>
      `${(megabytes / seconds).toFixed(2)} MB/s, ${(megabytes / cpuSeconds).toFixed(2)} MB a second of processor time, ${tokens} tokens, peak memory ${peakMb.toFixed(0)} MB`;
    console.log(`longsight (${flags.workers} workers): ${show(own)}`);
    if (peer) {
      if (peer.tokens !== own.tokens) throw new Error(`the peer has ${peer.tokens} tokens, Longsight ${own.tokens}`);
      console.log(
        `tokenizers ${peer.version}: ${show(peer)}; ratios ${(peer.seconds / own.seconds).toFixed(2)} and ${(peer.cpuSeconds / own.cpuSeconds).toFixed(2)}`,
      );
    }
  }
  console.log(JSON.stringify({ megabytes, load: loadavg(), ...flags, cpu: cpus()[0].model, rows }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
