// node bench/ruler.mjs TOKENIZER_FOLDER [--samples N --length N --out FILE]   (after npm run build)
//
// Seconds to make the samples of each RULER task that needs no file, one thread, tokenizing included. The last line is JSON.
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { openTokenizer } from '../dist/checkpoint/index.js';
import { OFFLINE_TASKS, openSources, RulerMaker } from '../dist/data/index.js';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    samples: { type: 'string', default: '500' },
    length: { type: 'string', default: '4096' },
    out: { type: 'string' },
  },
});
const tokenizer = openTokenizer(positionals[0]);
const sources = openSources({ seed: 42 });
const [samples, length] = [Number(flags.samples), Number(flags.length)];
const tasks = [];
for (const task of OFFLINE_TASKS) {
  const start = performance.now();
  try {
    const maker = new RulerMaker({ task, length, samples }, tokenizer, sources);
    let tokens = 0;
    for (let i = 0; i < samples; i++) tokens += maker.row(i).length;
    const seconds = Number(((performance.now() - start) / 1000).toFixed(2));
    tasks.push({ task, seconds, meanLength: Math.round(tokens / samples) });
    console.log(
      `${task.padEnd(16)} ${seconds.toFixed(2).padStart(7)} s   ${Math.round(tokens / samples)} tokens a sample`,
    );
  } catch (error) {
    tasks.push({ task, why: error.message });
    console.log(`${task.padEnd(16)} ${error.message}`);
  }
}
const report = {
  ...{ date: new Date().toISOString().slice(0, 10), processor: cpus()[0]?.model.trim() },
  ...{ vocabSize: tokenizer.vocabSize, samples, length, tasks },
};
if (flags.out) writeFileSync(flags.out, `${JSON.stringify(report, null, 2)}\n`);
console.log(JSON.stringify(report));
