// Which heads of a model look back at a needle, a number hidden in a text: node retrieval-heads.js MODEL_FOLDER [TOKENS]
// The folder is one that Transformers saved, with its tokenizer.
import { createEngine, openModel } from 'longsight';
import { traceImported, tracedHeads } from 'longsight/lab';

const [folder, tokens = '512'] = process.argv.slice(2);
if (folder === undefined) throw new Error('name a model folder: node retrieval-heads.js MODEL_FOLDER');
const engine = createEngine('auto');
const model = openModel(folder, { engine });
const { strongest, cut } = tracedHeads(await traceImported(model, Number(tokens)), 5);
// The score is the share of a head's attention that falls on the needle when the answer is asked for.
for (const { layer, head, label, score } of strongest) console.log(`layer ${layer}, head ${head} (${label}):`, score);
console.log('a retrieval head scores at least', cut);
await engine.dispose();
