// A text of yours, from a file to a report: node own-text.js TEXT_FILE [FOLDER] [STEPS]
import { createEngine, performRun, resolveRunConfig } from 'longsight';
import { analyzeRunFolder, writeReport } from 'longsight/report';

const [text, dir = 'runs/own-text', steps = '200'] = process.argv.slice(2);
if (text === undefined) throw new Error('name a text file: node own-text.js TEXT_FILE');
const run = resolveRunConfig({
  // Three windows of 32 keys and a full layer without positions.
  model: { hiddenSize: 64, numHeads: 4, numLayers: 4, layers: '3*swa:32 full:nope' },
  // The model reads bytes, so that no tokenizer is needed. A twentieth of the text is kept for measuring.
  data: { kind: 'text', files: [text] },
  train: { steps: Number(steps), seqLen: 128, batchSize: 8, lr: 2e-3, warmupSteps: 0 },
});
const engine = createEngine('auto');
await performRun({ dir, run, engine, resume: 'no' });
await engine.dispose();

const repeat = [`node own-text.js ${text} ${dir} ${steps}`];
const { html } = writeReport(dir, analyzeRunFolder(dir), { folder: dir, repeat });
console.log('report:', html);
