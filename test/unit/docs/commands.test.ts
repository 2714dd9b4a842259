/**
 * Every command line of the documentation is accounted for: it runs here, at small sizes, or it stands in a list with the reason why it
 * does not, and then the command line's own parser takes its arguments. A line that is in neither fails.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { cli } from '../../support/cli.js';
import { INLINE, LINES, longsightCalls, refusal, ROOT, shellWords } from '../../support/doc-commands.js';

const TWO_STEPS = '--set train.steps=2 --set train.warmupSteps=0 --set model.numLayers=2 --threads 1';
const FEW = '--length 240 --samples 4 --threads 1';
const ONE_RULER_SAMPLE = '--lengths 512 --samples 1 --tasks niah_single_1';

/**
 * What runs, in this order, by page: the line, and what is added to it to keep it short. Words in capitals stand for what WORDS says. The
 * sandbox is one for all, so that a page finds the run that an earlier one trained, as its reader does.
 */
const RUN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'docs/own-text.md': {
    'longsight cost mine.yaml': '',
    'longsight train mine.yaml': TWO_STEPS,
    'longsight train mine.yaml --resume': TWO_STEPS,
    'longsight generate runs/mine --prompt "The " --max-tokens 100': '--max-tokens 4 --threads 1',
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
    'longsight generate SmolLM2-135M --prompt "Once upon a time" --max-tokens 40': '--max-tokens 4 --threads 1',
  },
  'docs/context-extension.md': {
    'longsight train short.yaml': TWO_STEPS,
    'longsight train longer.yaml': TWO_STEPS,
    'longsight eval runs/short --set train.seqLen=1024 --set train.batchSize=2 --out short-at-1024.json':
      '--set eval.batches=1 --threads 1',
    'longsight eval runs/longer': '--threads 1',
  },
  'docs/compare-designs.md': {
    'longsight study plan windows.yaml --out runs/windows': '',
    'longsight study status runs/windows': '',
    'longsight cost s1-full --context 4k,64k,1M': '',
    'longsight cost s1-swa-128 --context 4k,64k,1M': '',
    'longsight report runs/windows': '',
  },
  'docs/clusters.md': {
    'longsight study study.yaml --out study --executor manifest': '',
    'longsight study plan study.yaml --out runs/study': '',
  },
  'docs/hugging-face.md': {
    'longsight inspect FOLDER': '',
    'longsight heads FOLDER': FEW,
    'longsight export RUN OUT': '',
  },
  'docs/generation.md': {
    'longsight generate FOLDER --prompt "Once" --temperature 0.8 --top-p 0.95 --seed 1 --stop "The End"':
      '--max-tokens 4 --threads 1',
    'longsight generate FOLDER --prompt-file prompts.jsonl --json': '--max-tokens 4 --threads 1',
    'longsight generate FOLDER --chat --prompt "What is a window?" --system "Answer in one sentence."':
      '--max-tokens 4 --threads 1',
    'longsight generate FOLDER --chat --prompt-file chats.jsonl': '--max-tokens 4 --threads 1',
  },
  'docs/learn.md': {
    'longsight trace RUN': '--threads 1',
  },
  'docs/multiple-choice.md': {
    'longsight choice MODEL task.jsonl other.jsonl --csv choice.csv --out choices.jsonl': '--threads 1',
  },
  'docs/ruler.md': {
    'longsight ruler prepare FOLDER --lengths 4096,16384': ONE_RULER_SAMPLE,
    'longsight ruler run MODEL --out ruler --lengths 512,1024,2048,4096 --samples 100': `${ONE_RULER_SAMPLE} --threads 1`,
  },
  'docs/run-folders.md': {
    'longsight log export FOLDER --to tensorboard --out DIR': '',
  },
  'docs/data.md': {
    "longsight data prepare 'texts/**/*.{txt,jsonl,parquet}' --tokenizer vocabulary --out shards": '--out more-shards',
    'longsight data check shards': '',
    'longsight tokenizer train TEXT.txt --vocab-size 4096 --out vocabulary': '--vocab-size 300 --out own-vocabulary',
  },
  'docs/publish.md': {
    'longsight report runs/windows': '',
  },
  'docs/upgrading.md': {
    'longsight report runs/windows': '',
  },
};

/** What does not run here, and why: the beginning of the line, on any page or on those whose path begins so. */
const NOT_RUN: readonly (readonly [begins: string, why: string, page?: string])[] = [
  ['', 'hours on a GPU: the commands that made the published records', 'docs/studies/'],
  ['npm ', 'the gate itself (.ci/run) installs, builds, tests and packs'],
  ['npx vitest run', 'the tests themselves'],
  ['.ci/run', 'the gate itself'],
  ['docker build', 'needs Docker and a registry'],
  ['#!/bin/bash; #SBATCH', 'needs a cluster of Slurm'],
  ['kubectl', 'needs a cluster'],
  ['seq 0 3 |', 'a shell loop over processes; study-units.test.ts trains shards'],
  ['for host in', 'needs three hosts'],
  ['python3 -m venv', 'needs PyPI and a GPU'],
  ['export ', 'sets a variable of the shell'],
  ['git pull', 'needs a clone with a remote'],
  ['alias ', 'names the program in the shell'],
  ['hf download', 'needs the network'],
  ['LONGSIGHT_COORDINATOR=', 'needs GPUs on two hosts; hosts.test.ts does it with CPUs'],
  ['longsight advise', 'needs a trained study; advise.test.ts has one'],
  ['longsight data fetch', 'needs the network; data-fetch.test.ts serves an archive'],
  ['longsight tokenizer train corpora/linux', 'needs the fetched corpus'],
  ["longsight data prepare 'corpora", 'needs the fetched corpus'],
  ['longsight doctor', 'program.test.ts and self-test.test.ts run it'],
  ['longsight dashboard', 'a server that does not end; test/browser starts it'],
  ['longsight playground', 'a server that does not end; test/browser starts it'],
  ['longsight train demo.yaml --engine xla:cuda', 'needs a GPU'],
  ['longsight study study.yaml --devices', 'needs GPUs'],
  ['longsight study preset:studies/real-text', 'an hour on a GPU'],
  ['longsight study windows.yaml', 'trains in processes of its own; study.test.ts does it'],
  ['longsight study report runs/study', 'needs trained runs; study-units.test.ts does it'],
  ['longsight analyze runs/windows', 'needs trained runs; study.test.ts does it'],
  ['longsight log export runs/windows', 'needs trained runs; run-folders.md exports one'],
  ['longsight report runs/windows --site', 'needs the built page; the browser tier does it'],
  ['longsight mask RUN', 'on bytes it takes a minute; look-inside.md runs it on a folder'],
  ['longsight generate runs/demo', 'the run of another page, which reads text there; own-text.md runs it'],
  ['longsight place runs/full', 'needs a trained run; place.test.ts does it'],
  ['longsight length runs/text', 'needs a trained run; length.test.ts does it'],
  ['longsight analyze runs/study --only length', 'needs trained runs; length.test.ts does it'],
  ['longsight study placement.yaml', 'trains in processes of its own; study.test.ts does it'],
  ['longsight parity FOLDER', 'hugging-face.test.ts runs it with what Transformers computed'],
  ['longsight ruler run MODEL --out ruler --tasks qa_1', 'needs the files of SQuAD and HotpotQA'],
  ['longsight ruler run MODEL --out mine', 'reads 8,192 tokens a sample; ruler.test.ts reads a file of samples'],
  ['node scripts/study-page.mjs', 'study-page.test.ts runs it'],
];

const WORDS: Readonly<Record<string, string>> = {
  ...{ FOLDER: 'SmolLM2-135M', MODEL: 'SmolLM2-135M', RUN: 'runs/mine', OUT: 'exported', DIR: 'log' },
  'TEXT.txt': 'texts/a.txt',
};

/** Words that mean something else on a page. */
const PAGE_WORDS: Readonly<Record<string, typeof WORDS>> = { 'docs/run-folders.md': { FOLDER: 'runs/mine' } };

const reasonOf = (page: string, line: string) =>
  NOT_RUN.find(([begins, , own]) => line.startsWith(begins) && (own === undefined || page.startsWith(own)));
const runs = (page: string, line: string) => RUN[page]?.[line] !== undefined;

/** Files that pages speak of: the run files that they show, texts, a tiny model of Transformers, prompts, questions. */
function fillSandbox(folder: string): void {
  const at = (name: string) => join(folder, name);
  const data = (...path: string[]) => join(ROOT, 'test', 'data', ...path);
  const book = readFileSync(join(ROOT, 'presets', 'corpora', 'moby-dick.txt'), 'utf8');
  mkdirSync(at('texts'));
  [1, 2, 3, 4, 5, 6, 7, 8].forEach((n) =>
    writeFileSync(at(`texts/${'abcdefgh'[n - 1]}.txt`), book.slice(20_000 * n, 20_000 * n + 10_000)),
  );
  writeFileSync(at('book.txt'), book.slice(0, 1000));
  for (const { page, text } of yamlBlocks()) {
    const name = /^# ([\w-]+\.yaml)\n/.exec(text)?.[1];
    if (name !== undefined) {
      expect(existsSync(at(name)), `${page} shows another ${name}`).toBe(false);
      writeFileSync(at(name), text);
    }
  }
  writeFileSync(at('study.yaml'), readFileSync(at('windows.yaml')));
  cpSync(data('texts', 'fallback'), at('SmolLM2-135M'), { recursive: true });
  writeFileSync(
    at('SmolLM2-135M/chat_template.jinja'),
    '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ',
  );
  writeFileSync(at('prompts.jsonl'), '{"text": "the quick"}\n{"text": "the lazy"}\n');
  writeFileSync(at('chats.jsonl'), '{"messages": [{"role": "user", "content": "the fox"}]}\n');
  for (const name of ['task.jsonl', 'other.jsonl']) cpSync(data('choice', 'questions.jsonl'), at(name));
}

function yamlBlocks(): { page: string; text: string }[] {
  return [...new Set(LINES.map(({ page }) => page))].flatMap((page) =>
    [...readFileSync(join(ROOT, page), 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => ({
      page,
      text,
    })),
  );
}

describe('command lines of the documentation', () => {
  it('run here or say why not, each of them', () => {
    const open = LINES.filter(({ page, line }) => !runs(page, line) && reasonOf(page, line) === undefined);
    expect(open).toEqual([]);
    expect(LINES.length).toBeGreaterThan(60);
  });

  it('are in the lists only where they are in the pages', () => {
    const stale = Object.entries(RUN).flatMap(([page, lines]) =>
      Object.keys(lines).filter((line) => !LINES.some((own) => own.page === page && own.line === line)),
    );
    const unused = NOT_RUN.filter(
      ([begins, , own = '']) => !LINES.some(({ page, line }) => line.startsWith(begins) && page.startsWith(own)),
    );
    expect([stale, unused.map(([begins]) => begins)]).toEqual([[], []]);
  });

  it('have arguments that the parser takes', async () => {
    const refused: string[] = [];
    for (const { page, line } of LINES)
      for (const args of longsightCalls(line.replace('{}/4', '0/4'))) {
        const why = await refusal(args);
        if (why !== null) refused.push(`${page}: ${line}: ${why}`);
      }
    expect(refused).toEqual([]);
  });

  it('in running text name commands, scripts and files that are there, with options that the parser takes', async () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    const wrong: string[] = [];
    for (const { page, line } of INLINE) {
      if (/ (COMMAND|\.\.\.)( |$)/.test(line)) continue;
      for (const args of longsightCalls(
        line
          .replaceAll('ENGINE', 'onnx')
          .replace(/ \[(options|command)\]/g, '')
          .replace('<shell>', 'bash'),
      )) {
        const why = await refusal(args);
        // A command that is only named has no arguments.
        if (why !== null && !/missing required argument|required option/.test(why))
          wrong.push(`${page}: ${line}: ${why}`);
      }
      for (const [program, first = '', second = ''] of shellWords(line)) {
        const name = /^-/.test(first) && !/^-e/.test(first) ? second : first;
        const script = program === 'npm' && first === 'run' ? (second === '-s' ? null : second) : null;
        if (script !== null && !(script in scripts)) wrong.push(`${page}: ${line}: no such script`);
        if ((program === 'node' || program === 'bash') && /\.(mjs|sh)$/.test(name) && !existsSync(join(ROOT, name)))
          wrong.push(`${page}: ${line}: no such file`);
      }
    }
    expect(wrong).toEqual([]);
  });
});

describe('the commands of', () => {
  const before = process.cwd();
  const folder = mkdtempSync(join(tmpdir(), 'longsight-docs-'));
  beforeAll(() => {
    fillSandbox(folder);
    process.chdir(folder);
  });
  afterAll(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(Object.keys(RUN))(
    '%s run as they stand',
    async (page) => {
      for (const [line, more] of Object.entries(RUN[page] ?? {})) {
        const args = (longsightCalls(line)[0] ?? []).map((word) => PAGE_WORDS[page]?.[word] ?? WORDS[word] ?? word);
        const { code, stderr } = await cli([...args, ...more.split(' ').filter((word) => word !== '')]);
        expect({ line, code, stderr: code === 0 ? '' : stderr }).toEqual({ line, code: 0, stderr: '' });
      }
    },
    120_000,
  );

  /** What a program of a page prints, run as it stands in the sandbox. */
  async function printed(page: string, index: number): Promise<readonly (readonly unknown[])[]> {
    const programs = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)];
    const path = join(folder, `${basename(page, '.md')}-${index}.ts`);
    const source = programs[index]?.[1]?.replaceAll(/'longsight(\/\w+)?'/g, (_, layer: string | undefined) =>
      JSON.stringify(join(ROOT, 'src', layer ?? '', 'index.ts')),
    );
    writeFileSync(path, source ?? '');
    const log = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    try {
      await import(path);
      return log.mock.calls;
    } finally {
      log.mockRestore();
    }
  }

  it('docs/look-inside.md are followed by a program that runs as it stands', async () => {
    const lines = await printed('docs/look-inside.md', 0);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.every(([, , entropy]) => Number(entropy) >= 0)).toBe(true);
  }, 60_000);

  it('docs/program.md are programs that run as they stand', async () => {
    const layers = await printed('docs/program.md', 0);
    expect(layers.map(([layer]) => layer)).toEqual(['after 0', 'after 1', 'after 2']);
    const heads = await printed('docs/program.md', 1);
    expect(heads.every(([, change]) => Number(change) > 0)).toBe(true);
    expect(heads).toHaveLength(2);
    expect((await printed('docs/program.md', 2)).map(([type]) => type)).toEqual(['llama']);
    expect(existsSync(join(folder, 'halved', 'config.json'))).toBe(true);
    expect((await printed('docs/program.md', 3)).map(([code, exit]) => [code, exit])).toEqual([['CONFIG', 2]]);
  }, 60_000);
});
