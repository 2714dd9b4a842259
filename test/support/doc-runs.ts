/**
 * Where every command line of the documentation runs, at small sizes: `IN_PROCESS` in test/unit/docs/commands.test.ts, `WITH_PROCESSES` in
 * test/train/doc-commands.test.ts, `ELSEWHERE` by the gate or by another test. `NOT_RUN` has what runs nowhere, and why.
 */

/** A line as it runs: what stands in the place of some of its words, and what is added to keep it short, as words with blanks between. */
export interface DocRun {
  readonly more?: string;
  readonly instead?: Readonly<Record<string, string>>;
  /** Whether it is left out where there is no PJRT plugin for CPUs. */
  readonly needsPlugin?: boolean;
}

/** By page, in this order: the line, and how it runs; text is what is added. */
export type DocRuns = Readonly<Record<string, Readonly<Record<string, string | DocRun>>>>;

const TWO_STEPS = '--set train.steps=2 --set train.warmupSteps=0 --set model.numLayers=2 --threads 1';
const FEW = '--length 240 --samples 4 --threads 1';
const ONE_RULER_SAMPLE = '--lengths 512 --samples 1 --tasks niah_single_1';
const FOUR_TOKENS = '--max-tokens 4 --threads 1';

/** In one sandbox for all, so that a page finds the run that an earlier one trained, as its reader does. */
export const IN_PROCESS: DocRuns = {
  'docs/own-text.md': {
    'longsight cost mine.yaml': '',
    'longsight train mine.yaml': TWO_STEPS,
    'longsight train mine.yaml --resume': TWO_STEPS,
    'longsight generate runs/mine --prompt "The " --max-tokens 100': FOUR_TOKENS,
    'longsight trace runs/mine': '--threads 1',
    'longsight analyze runs/mine --only entropy,attention-distance': '--threads 1',
    'longsight report runs/mine': '',
    "longsight tokenizer train 'texts/*.txt' --vocab-size 4096 --out vocabulary": '--vocab-size 300',
    "longsight data prepare 'texts/*.txt' --tokenizer vocabulary --out shards --held-out 0.05": '--held-out 0.3',
    'longsight data check shards': '',
  },
  'docs/getting-started.md': {
    'longsight train demo.yaml': TWO_STEPS,
    'longsight train demo.yaml --set train.lr=2e-3 --out runs/demo-slow': TWO_STEPS,
    'longsight train demo.yaml --resume': TWO_STEPS,
    'longsight eval runs/demo': '--threads 1',
    'longsight trace runs/demo': '--threads 1',
    'longsight report runs/demo': '',
  },
  'docs/look-inside.md': {
    'longsight inspect SmolLM2-135M': '',
    'longsight trace SmolLM2-135M --length 512': '--length 240 --threads 1',
    'longsight heads SmolLM2-135M --length 512 --samples 8': FEW,
    'longsight mask SmolLM2-135M --length 512 --samples 8': `${FEW} --draws 1 --top 1`,
    'longsight constrain SmolLM2-135M --keys 64,256 --length 512': '--keys 8 --needles 2 --length 240 --threads 1',
    'longsight eval SmolLM2-135M --texts book.txt --length 512': '--length 240 --threads 1',
    'longsight generate SmolLM2-135M --prompt "Once upon a time" --max-tokens 40': FOUR_TOKENS,
  },
  'docs/context-extension.md': {
    'longsight train short.yaml': TWO_STEPS,
    'longsight train longer.yaml': TWO_STEPS,
    'longsight eval runs/short --set train.seqLen=1024 --set train.batchSize=2 --out short-at-1024.json':
      '--set eval.batches=1 --threads 1',
    'longsight eval runs/longer': '--threads 1',
  },
  'docs/compare-designs.md': {
    'longsight cost s1-full --context 4k,64k,1M': '',
    'longsight cost s1-swa-128 --context 4k,64k,1M': '',
  },
  'docs/hugging-face.md': {
    'longsight inspect FOLDER': '',
    'longsight heads FOLDER': FEW,
    'longsight parity FOLDER': { more: '--threads 1', instead: { FOLDER: 'qwen2' } },
    'longsight export RUN OUT': '',
  },
  'docs/generation.md': {
    'longsight generate runs/mine --prompt "Call me" --max-tokens 200': FOUR_TOKENS,
    'longsight generate FOLDER --prompt "Once" --temperature 0.8 --top-p 0.95 --seed 1 --stop "The End"': FOUR_TOKENS,
    'longsight generate FOLDER --prompt-file prompts.jsonl --json': FOUR_TOKENS,
    'longsight generate FOLDER --chat --prompt "What is a window?" --system "Answer in one sentence."': FOUR_TOKENS,
    'longsight generate FOLDER --chat --prompt-file chats.jsonl': FOUR_TOKENS,
  },
  'docs/learn.md': {
    'longsight trace RUN': '--threads 1',
    'longsight mask RUN': '--length 220 --samples 2 --draws 1 --top 1 --threads 1',
  },
  'docs/multiple-choice.md': {
    'longsight choice MODEL task.jsonl other.jsonl --csv choice.csv --out choices.jsonl': '--threads 1',
  },
  'docs/ruler.md': {
    'longsight ruler prepare FOLDER --lengths 4096,16384': ONE_RULER_SAMPLE,
    'longsight ruler run MODEL --out ruler --lengths 512,1024,2048,4096 --samples 100': `${ONE_RULER_SAMPLE} --threads 1`,
    'longsight ruler run MODEL --out ruler --tasks qa_1,qa_2 --squad dev-v2.0.json --hotpot hotpot_dev_distractor_v1.json':
      '--lengths 512 --samples 1 --threads 1',
    'longsight ruler run MODEL --out mine --data samples.jsonl --lengths 8192 --max-tokens 64 --scoring part':
      '--lengths 512 --max-tokens 4 --threads 1',
  },
  'docs/run-folders.md': {
    'longsight log export FOLDER --to tensorboard --out DIR': { instead: { FOLDER: 'runs/mine' } },
  },
  'docs/data.md': {
    "longsight data prepare 'texts/**/*.{txt,jsonl,parquet}' --tokenizer vocabulary --out shards": '--out more-shards',
    'longsight data check shards': '',
    'longsight tokenizer train TEXT.txt --vocab-size 4096 --out vocabulary': '--vocab-size 300 --out own-vocabulary',
  },
};

const settings = (...all: readonly string[]) => all.map((setting) => `--set ${setting}`).join(' ');

/** A study of small models on token shards in a few steps; `HERE` is the sandbox. */
const SMALL_TEXT = settings(
  ...[
    'data.path=HERE/byte-shards',
    'model.vocabSize=256',
    'model.numLayers=2',
    'model.hiddenSize=16',
    'model.headDim=8',
  ],
  ...['model.intermediateSize=16', 'train.seqLen=160', 'train.batchSize=2', 'train.precision=f32', 'train.steps=2'],
  ...['train.warmupSteps=1', 'train.logEvery=1', 'train.evalEvery=0', 'train.checkpointEvery=0', 'eval.batches=1'],
  ...['eval.trace=false', 'eval.ar={"maxCount":1000}'],
);
const SMALL_RECALL = settings(
  ...['model.hiddenSize=8', 'model.numHeads=2', 'model.headDim=4', 'model.intermediateSize=16', 'train.steps=2'],
  ...['train.warmupSteps=1', 'train.seqLen=64', 'train.batchSize=2', 'train.evalEvery=2', 'eval.batches=1'],
);
const HERE = '--engine onnx --threads 1';
/** `--set data.path=FOLDER` of a line gives way to that of SMALL_TEXT. */
const only = (runs: string): DocRun => ({ more: `${SMALL_TEXT} ${HERE} --only ${runs}` });

/** A second stage of longer rows, and a checkpoint before it. */
const LONGER_ROWS = settings(
  'train.steps=4',
  'train.checkpointEvery=2',
  'train.stages=[{"from":2,"seqLen":320,"batchSize":1,"ropeTheta":160000}]',
);

/** The grid has sizes and steps of its own; batches enough for cases of far recall. */
const SCALING = SMALL_TEXT.replace(/--set (model\.hiddenSize|train\.steps)=\d+/g, '').replace(
  'eval.batches=1',
  'eval.batches=8',
);
/** Another name than that of the study of analysis.md. */
const UNITS = { 'runs/study': 'runs/units' };
/** A clone with a remote, on this disk. */
const A_CLONE =
  'git init -q origin && git -C origin -c user.name=a -c user.email=a@b commit -q --allow-empty -m one && git clone -q origin pulled && cd pulled';

/** In one sandbox for all, with what is built in `dist`: studies in processes of their own, servers, lines that a shell reads. */
export const WITH_PROCESSES: DocRuns = {
  'README.md': {
    'npm ci && npm run quickstart': {
      instead: { 'npm ci && ': 'cd clone && ', quickstart: `quickstart -- ${SMALL_RECALL} ${HERE} --only full_seed-1` },
    },
  },
  'CONTRIBUTING.md': { 'longsight doctor --json': '' },
  'docs/getting-started.md': {
    'alias longsight="node $PWD/dist/cli/main.js"': {
      instead: { alias: 'cd clone; shopt -s expand_aliases; alias', 'main.js"': 'main.js"\nlongsight --version' },
    },
  },
  'docs/upgrading.md': { 'git pull': { instead: { 'git pull': `${A_CLONE} && git pull` } } },
  'docs/compare-designs.md': {
    'longsight study plan windows.yaml --out runs/windows': SMALL_RECALL,
    'longsight study windows.yaml': `${SMALL_RECALL} ${HERE}`,
    'longsight study status runs/windows': '',
    'longsight analyze runs/windows --only limits': '--keys 8 --threads 1',
    'longsight report runs/windows': '',
    'longsight advise runs/windows --context 64k --kv-budget 1GB --params 100M': '',
  },
  'docs/publish.md': {
    'longsight report runs/windows': '',
    'longsight report runs/windows --site windows-site': '',
    'longsight log export runs/windows --to csv --out windows-csv': '',
    "node scripts/study-page.mjs --out windows-page --repeat 'longsight study windows.yaml' runs/windows": {
      instead: { scripts: 'ROOT/scripts' },
    },
  },
  'docs/dashboard.md': { 'longsight dashboard': '--no-cache' },
  'docs/playground.md': {
    'longsight playground': '',
    'longsight playground --site OUT': '',
  },
  'docs/clusters.md': {
    'longsight study study.yaml --out study --executor manifest': SMALL_RECALL,
    'docker build --tag registry.example.org/lab/longsight:0.2.0 study/manifest && docker push registry.example.org/lab/longsight:0.2.0':
      '',
    'kubectl apply -f study/manifest/job.yaml': '',
    '#!/bin/bash; #SBATCH --requeue --open-mode=append --signal=USR1@120; srun longsight study study.yaml --out study; code=$?; if [ "$code" -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi; exit "$code";':
      { more: `${SMALL_RECALL} ${HERE} --only small-window_seed-1`, instead: { '; ': '\n' } },
    'longsight study plan study.yaml --out runs/study': { more: SMALL_RECALL, instead: UNITS },
    'seq 0 3 | xargs -P 4 -I{} longsight study run runs/study --shard {}/4': { more: HERE, instead: UNITS },
    'longsight study report runs/study': { instead: UNITS },
    'for host in a b c; do ssh "$host" longsight study run /shared/runs/study & done; wait': {
      more: HERE,
      instead: { '/shared/runs/study': 'HERE/study' },
    },
  },
  'docs/gpu.md': {
    "python3 -m venv ~/pjrt && ~/pjrt/bin/pip install 'jax-cuda12-plugin[with-cuda]'": '',
    'export VIRTUAL_ENV=~/pjrt': '',
    'longsight train demo.yaml --engine xla:cuda --set train.precision=bf16': {
      more: TWO_STEPS,
      instead: { 'xla:cuda': 'xla:cpu' },
      needsPlugin: true,
    },
  },
  'docs/xla.md': { 'export LONGSIGHT_COORDINATOR_SECRET_FILE=~/.longsight-secret': '' },
  'docs/analysis.md': {
    'longsight place runs/full --full 2 --keys 128 --by both --out placement.yaml':
      '--keys 16 --gate-steps 4 --samples 2 --max-tokens 64 --random 1 --seeds 1 --threads 1',
    'longsight study placement.yaml --out runs/placement': `${HERE} --only even`,
    'longsight length runs/text --lengths 1k,2k --rope-theta 160000 --yarn 4':
      '--lengths 256,512 --samples 2 --threads 1',
    'longsight analyze runs/study --only length --lengths 1k,2k --yarn 4 --temperature log':
      '--lengths 256,512 --threads 1',
  },
  'docs/look-inside.md': {
    'hf download HuggingFaceTB/SmolLM2-135M --local-dir SmolLM2-135M': {
      instead: { '--local-dir ': '--local-dir downloaded/' },
    },
  },
  'docs/data.md': {
    'longsight data fetch linux-6.12': '--from linux.tar.gz --any-version --mb 1',
    'longsight tokenizer train corpora/linux-6.12/linux-6.12-00.jsonl --vocab-size 8192 --out corpora/linux-6.12/vocabulary':
      '--vocab-size 300',
    "longsight data prepare 'corpora/linux-6.12/linux-6.12-*.jsonl' --tokenizer corpora/linux-6.12/vocabulary --out corpora/linux-6.12/shards --held-out 0.03":
      '--held-out 0.3',
  },
  'docs/studies/windows-drawn/README.md': {
    'longsight study presets/studies/windows-drawn.yaml': only(
      'drawn-by-step_seed-1,shared-by-sequence_seed-1,swa-128_seed-1',
    ),
    'longsight eval runs/windows-drawn/runs/drawn-by-step_seed-1 --window 128 --out drawn-by-step_seed-1.json':
      '--threads 1',
    'longsight eval runs/windows-drawn/runs/shared-by-sequence_seed-1 --window 128 --out shared-by-sequence_seed-1.json':
      '--threads 1',
  },
  'docs/studies/length/README.md': {
    'longsight study presets/studies/length.yaml --reuse runs/windows-drawn': only(
      'swa-128-nope_seed-1,swa-128_seed-1',
    ),
    'longsight analyze runs/length --only length --lengths 4k,8k,16k,32k,64k': '--lengths 160,320 --threads 1',
    'longsight report runs/length': '',
  },
  'docs/studies/headwise/README.md': {
    'longsight study presets/studies/headwise.yaml --reuse runs/windows-drawn,runs/length': only(
      'layers_seed-1,layers-nope_seed-1',
    ),
  },
  'docs/studies/ratios/README.md': {
    'longsight study presets/studies/ratios.yaml --long --per-device 2': {
      more: `${SMALL_TEXT} --set model.numLayers=8 ${HERE} --only 1-to-3_seed-1`,
      instead: { ' --per-device 2': '' }, // refused where no run computes on an accelerator
    },
  },
  'docs/studies/extension/README.md': {
    'longsight study presets/studies/extension.yaml --per-device 2': {
      more: `${SMALL_TEXT} ${LONGER_ROWS} ${HERE} --only full_seed-1`,
      instead: { ' --per-device 2': '' },
    },
    'longsight analyze runs/extension --only length --lengths 4k,8k,16k,32k,64k': '--lengths 160,320 --threads 1',
    'longsight length runs/extension/runs/full_seed-1 --step 1374 --lengths 4k,16k,32k --rope-theta 160000 --yarn 4 --csv before.csv':
      '--step 2 --lengths 160,320 --threads 1',
  },
  'docs/studies/placement/README.md': {
    'longsight train presets/real-text.yaml --set model.numLayers=8 --set model.layers=full:nope --set train.steps=1526 --out runs/full-nope':
      {
        more: `${SMALL_TEXT} ${HERE} --set model.numLayers=3`,
      },
    'longsight place runs/full-nope --full 2': '--keys 8 --threads 1',
    'longsight place runs/full-nope --full 1': '--keys 8 --threads 1',
    'longsight study presets/studies/placement.yaml --reuse runs/ratios --per-device 2': {
      more: `${SMALL_TEXT} --set model.numLayers=8 ${HERE} --only placed_seed-1`,
      instead: { ' --reuse runs/ratios --per-device 2': ' --out runs/placement-study' }, // analysis.md has runs/placement
    },
    'longsight study presets/studies/placement-one.yaml --reuse runs/ratios,runs/placement --per-device 2': {
      more: `${SMALL_TEXT} --set model.numLayers=8 ${HERE} --only layer-2_seed-1`,
      instead: { 'runs/ratios,runs/placement --per-device 2': 'runs/placement-study' },
    },
  },
  'docs/studies/temperature/README.md': {
    'longsight study presets/studies/temperature.yaml': only('nope-log_seed-1'),
    'longsight analyze runs/temperature --only length --lengths 2k,8k,32k': '--lengths 160,320 --threads 1',
    'longsight report runs/temperature': '',
  },
  'docs/studies/windows-order/README.md': {
    'longsight study presets/studies/windows-order.yaml --reuse runs/windows-drawn': only('swa-128_seed-1'),
  },
  'docs/studies/muon/README.md': {
    'longsight study presets/studies/muon.yaml --set data.path=FOLDER': only('muon_seed-1'),
  },
  'docs/studies/real-text-delay/README.md': {
    'longsight study presets/studies/real-text-delay.yaml --set data.path=FOLDER': only('full_seed-1'),
  },
  'docs/studies/real-text-long/README.md': {
    'longsight study presets/studies/real-text-long.yaml': only('swa-128-nope_seed-1,full_seed-1'),
    'longsight analyze runs/real-text-long/runs/swa-128-nope_seed-1 --only limits,masking': '--keys 16 --threads 1',
    'longsight analyze runs/real-text-long/runs/full_seed-1 --only limits,masking':
      '--keys 16 --threads 1 --only limits',
  },
  'docs/studies/real-text-short/README.md': {
    'longsight study presets/studies/real-text-short.yaml --set data.path=FOLDER': only('swa-128_seed-1'),
    'longsight analyze runs/real-text-short --only limits': '--keys 16 --threads 1',
  },
  'docs/studies/real-text/README.md': {
    'longsight study presets/studies/real-text.yaml --set data.path=FOLDER': only(
      'swa-512_seed-1,lightning_seed-1,lightning_seed-2,mamba2_seed-1,mamba2_seed-2,gdn_seed-2',
    ),
    'longsight analyze runs/real-text --only limits,masking': '--keys 16 --threads 1 --only limits',
    'longsight analyze runs/real-text/runs/swa-512_seed-1 --only probes,drift,influence': '--threads 1',
    'longsight analyze runs/real-text/runs/lightning_seed-1 --only probes,drift,influence': '--threads 1',
    'longsight analyze runs/real-text/runs/lightning_seed-2 --only drift': '--threads 1',
    'longsight analyze runs/real-text/runs/mamba2_seed-1 --only drift': '--threads 1',
    'longsight analyze runs/real-text/runs/mamba2_seed-2 --only drift': '--threads 1',
    'longsight analyze runs/real-text/runs/gdn_seed-2 --only probes,influence': '--threads 1',
  },
  'docs/learn.md': {
    'longsight study preset:studies/real-text --set data.path=FOLDER': only('swa-512_seed-1'),
  },
  'docs/studies/scaling/README.md': {
    'longsight study plan presets/studies/scaling.yaml --out runs/scaling --set data.path=FOLDER': SCALING,
    'longsight study run runs/scaling': HERE,
    'longsight fit runs/scaling': '--resamples 0 --no-profiles',
    'longsight fit runs/scaling --hold-out': '--resamples 0 --no-profiles',
    'longsight fit runs/scaling --measure ar --hold-out': '--resamples 0 --no-profiles',
  },
};

/** Scripts that running text names, in the sandbox of `WITH_PROCESSES` once all of that has run. */
export const SCRIPTS: Readonly<Record<string, DocRun>> = {
  'node bench/agree.mjs --ms 2,2': { more: '--steps 20' },
  'node bench/ruler.mjs TOKENIZER_FOLDER': {
    instead: { TOKENIZER_FOLDER: 'SmolLM2-135M' },
    more: '--samples 1 --length 512',
  },
  'node bench/step.mjs batch=8 seq=512 steps=5 threads=1 optimizer=muon': { more: 'batch=1 seq=32 steps=1' },
  'node bench/gpu/share.mjs runs/windows-drawn': {},
  'node bench/generate.mjs --python PATH': {
    more: '--python HERE/none --rounds 1 --reads 1 --prompt 16 --new 2 --threads 1 --batch 1 --design full',
  },
};

/** Scripts that no test runs as the text has them, and why: the beginning of the line. */
export const SCRIPTS_NOT_RUN: readonly (readonly [begins: string, why: string])[] = [
  ['npm run bench', 'half a minute at its least sizes; its steps are those of bench/step.mjs'],
  ['node bench/step.mjs batch=8 seq=512 steps=3', 'another hybrid by the same script'],
  ['node bench/generate.mjs --rounds 1', 'the same script'],
  ['node bench/agree.mjs', 'the same script'],
  ['node bench/gpu/share.mjs', 'the same script'],
  ['node bench/playground.mjs', 'needs Chromium; test/browser trains in it'],
  ['node bench/dashboard', 'needs Chromium and gigabytes of runs; test/browser opens the dashboard'],
  ['node bench/study-report.mjs', 'needs Chromium; study.test.ts writes reports'],
  ['node bench/memory.mjs', 'a model of a billion parameters'],
  ['node bench/cluster.mjs plan', 'a thousand runs; study-units.test.ts plans'],
  ['node bench/cluster.mjs slurm', 'needs Slurm, as root; npm run test:slurm has what it does'],
  ['node bench/kill-nodes.mjs', 'needs root and minutes; npm run test:slurm kills nodes'],
  ['node bench/gpu/study.mjs', 'minutes; gpu-bench.test.ts runs programs beside it'],
  ['node bench/data/prepare.mjs', 'peers from PyPI; data-prepare.test.ts prepares'],
  ['node bench/gpu/longsight.mjs HOME', 'needs a GPU; gpu-bench.test.ts runs it on the CPU'],
  ['node bench/gpu/recurrences.mjs HOME FOLDER', 'the same script; gpu-bench.test.ts runs it'],
  ['bash bench/gpu/', 'needs a GPU; gpu-bench.test.ts runs its programs on the CPU'],
  ['npm run -s build && node scripts/simulate-verdicts.mjs', 'minutes, and it writes the tables of method.md'],
  ['node scripts/study-page.mjs', 'study-page.test.ts and publish.md run it'],
  ['node bench/start.mjs', 'the gate runs it, with --assert'],
  ['node scripts/fetch-pjrt-cpu.mjs', 'the gate runs it'],
  ['node scripts/check-package.mjs', 'the gate runs it'],
  ['npm run test:', 'tiers of tests'],
  ['npm run docs', 'needs the packages of the site, from the registry'],
  ['npm run bundle', 'minutes, and half a gigabyte'],
  ['npm run quickstart', 'the README has it in a shell block, which runs'],
];

/** What runs elsewhere: the beginning of the line, and the text of a file that runs it. */
export const ELSEWHERE: readonly (readonly [begins: string, file: string, text: string])[] = [
  ['npm ci && npm test', '.ci/run', '\nnpm ci\n'],
  ['npm ci', '.ci/run', '\nnpm ci\n'],
  [
    'npm run types && npm run lint && npm run format:check',
    '.ci/run',
    'npm run types && npm run format:check && npm run lint',
  ],
  ['npx vitest run src/data', 'package.json', '"test": "npm run -s build:js && npm run -s build:web && vitest run"'],
  ['npm run test:unit', 'package.json', '"test": "npm run -s build:js && npm run -s build:web && vitest run"'],
  ['npm run test:torture', 'package.json', '"test": "npm run -s build:js && npm run -s build:web && vitest run"'],
  ['.ci/run', '.ci/run', '\nnpm test '],
  ['npm run build', 'package.json', '"prepack": "npm run -s clean && npm run -s build"'],
  ['npm pack --pack-destination', 'scripts/check-package.mjs', "'npm', 'pack', '--pack-destination'"],
  [
    'npm install onnxruntime-node --onnxruntime-node-install=skip',
    'scripts/check-package.mjs',
    "'npm', 'install', 'onnxruntime-node', '--onnxruntime-node-install=skip'",
  ],
  ['longsight doctor --self-test', 'test/train/self-test.test.ts', "'doctor', '--self-test'"],
  ['longsight doctor', 'scripts/check-package.mjs', "'longsight', 'doctor'"],
];

/** What runs nowhere here, and why: the beginning of the line. */
export const NOT_RUN: readonly (readonly [begins: string, why: string])[] = [
  ['LONGSIGHT_COORDINATOR=', 'needs GPUs on two hosts: the plugin for CPUs takes no part in a run over several'],
  ['longsight study study.yaml --devices 4', 'needs four GPUs: --devices is refused where no run computes on one'],
];
