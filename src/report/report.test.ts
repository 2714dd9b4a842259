import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseHTML } from 'linkedom';
import { describe, expect, it } from 'vitest';
import { FAKE_DESIGNS, writeFakeRun, writeFakeStudy, type FakeRun } from '../../test/support/fake-study.js';
import { messageOf, temporaryFolder } from '../../test/support/folders.js';
import { seriesStyles } from './plot.js';
import { engineLine, type Analysis } from './report-data.js';
import { analyzeRunFolder, analyzeStudyFolder, reportHtml, writeReport } from './report.js';

function study(runs: readonly (FakeRun & { architecture: string })[], change: object = {}): string {
  const dir = temporaryFolder();
  writeFakeStudy(dir, runs, change);
  return dir;
}

const quickstart = (change: Partial<FakeRun> = {}) =>
  FAKE_DESIGNS.flatMap(({ label, pattern, formsAt }) =>
    formsAt.map((tokens, i) => {
      const seed = i + 1;
      return { name: `${pattern}_seed-${seed}`, architecture: label, pattern, seed, formsAt: tokens, ...change };
    }),
  );

const COMPARE = { threshold: 0.9, minRecallDifference: 0.02, minLossDifference: 0.01 };

interface Part {
  readonly textContent: string;
  getAttribute(name: string): string | null;
  querySelectorAll(selector: string): Part[];
}

interface Page {
  readonly document: {
    querySelectorAll(selector: string): Part[];
    readonly documentElement: { readonly textContent: string };
  };
}

type Analyzed = ReturnType<typeof analyzeStudyFolder>;

function pageOf(dir: string, analyzed: Analyzed = analyzeStudyFolder(dir)) {
  const html = reportHtml(analyzed, { repeat: ['longsight study x'] });
  const { document } = parseHTML(html) as unknown as Page;
  const texts = (selector: string) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
  return { analyzed, html, document, texts };
}

let made: (ReturnType<typeof pageOf> & { readonly verdicts: readonly string[] }) | undefined;

/** The analysis, the page and the verdicts of the quickstart as it is, which many tests read: made once. */
function plain() {
  if (made === undefined) {
    const page = pageOf(study(quickstart()));
    made = { ...page, verdicts: verdictsOf(page.analyzed) };
  }
  return made;
}

/** Every verdict of a study as one sentence or more, as `report.json` has them. */
const verdictsOf = ({ analysis }: Analyzed): string[] =>
  analysis.groups.flatMap(({ verdicts }) => verdicts.map(({ lead, text }) => `${lead} ${text}`));
const verdictsIn = (dir: string): string[] => verdictsOf(analyzeStudyFolder(dir));

describe('the report of a study', () => {
  it('says what the runs say', () => {
    const { texts, verdicts } = plain();
    expect(verdicts).toContainEqual(
      expect.stringMatching(/swa:8 \+ full gets there with at least 1\.\d × fewer tokens than swa:64 \+ full\./),
    );
    expect(verdicts).toContainEqual(
      expect.stringContaining(
        'Recall beyond every window (distances 65 to 128) reaches 0.9 after 1.13 M to 1.23 M tokens, against not within 2.46 M tokens (2 seeds, paired).',
      ),
    );
    expect(verdicts).toContainEqual(
      expect.stringContaining('swa:64 + full and full: no difference shown. Recall beyond every window'),
    );
    expect(verdicts).toContainEqual(
      expect.stringMatching(
        /swa:8 \+ full:nope and swa:8 \+ full: too few seeds to say\. .*swa:8 \+ full:nope is earlier in every seed, but so few seeds do not rule out chance\. With 95 % confidence, swa:8 \+ full takes 0\.9\d to 2\.\d × the tokens/,
      ),
    );
    expect(texts('.question h3')).toEqual([
      'Does a smaller window bring long-range retrieval earlier?',
      'Does leaving positions out (NoPE) help?',
      'Do the designs end at the same place?',
      'Do the designs differ at equal cost of training?',
      'What each design cost, and came to',
    ]);
    // The numbers stand in a table for each question.
    expect(texts('.question th[scope="col"]').slice(0, 5)).toEqual([
      ...['measured', 'A', 'B', 'difference (95 % interval)', 'answer'],
    ]);
    expect(texts('table.pairs tr')).toContain('A: swa:8 + full, B: full (2 seeds)');
    expect(texts('table.pairs tr')).toContainEqual(
      expect.stringMatching(
        /^Tokens until far recall forms1\.13 M to 1\.23 M tokensnot within 2\.46 M tokensB \/ A: \(1\.\d+ to no upper end\)earlier in A$/,
      ),
    );
    expect(texts('.question li')).toContainEqual(
      expect.stringMatching(
        /^too few seeds.*: too few seeds to say\. swa:8 \+ full:nope is earlier in every seed, but so few/,
      ),
    );
  });

  it('begins with what was found, in words', () => {
    const headline = (dir: string) => pageOf(dir).texts('.headline').join();
    expect(plain().texts('.headline').join()).toMatch(
      /^Recall 65 to 128 tokens back, beyond every window, reached 0\.9 after 819 k tokens with swa:8 \+ full:nope and after 1\.13 M to 1\.23 M tokens with swa:8 \+ full\. With full and swa:64 \+ full it did not within 2\.46 M tokens\. .*swa:8 \+ full gets there with at least 1\.\d × fewer tokens than full\..* Two seeds are too few to settle the other comparison\./,
    );
    const none = quickstart().map((run) => ({ ...run, formsAt: Infinity }));
    expect(headline(study(none))).toMatch(
      /^Recall 65 to 128 tokens back, beyond every window, reached 0\.9 with no design, not within 2\.46 M tokens\. No difference is shown\./,
    );
    const text = quickstart({ text: true }).map((run) => ({ ...run, finalLoss: run.pattern === 'full' ? 1.2 : 1.6 }));
    expect(headline(study(text))).toMatch(
      /^Held-out loss ended at 1\.2\d(?: to 1\.2\d)? nats with full, at 1\.6\d(?: to 1\.6\d)? nats with /,
    );
    expect(headline(study(quickstart({ state: 'running', upTo: 100 })))).toBe('');
    const some = quickstart().map((run, i) => (i < 4 ? run : { ...run, state: 'running' as const, upTo: 200 }));
    expect(headline(study(some))).toMatch(/^So far: Recall 65 to 128/);
    const five = quickstart().flatMap((run) =>
      run.pattern !== 'swa-8-nope'
        ? []
        : ['a', 'b', 'c', 'd', 'e'].map((architecture) => ({
            ...run,
            architecture,
            name: `${architecture}_${run.seed}`,
          })),
    );
    expect(headline(study(five))).toMatch(/ tokens with [a-e] and later with [a-e]\./);
  });

  it('shows the task, what each layer sees, and explains its words', () => {
    const { texts, document } = plain();
    expect(texts('.task .strip span').slice(0, 2)).toEqual(['k7', 'v3']);
    expect(texts('.stack h4')).toEqual(FAKE_DESIGNS.map(({ label }) => label));
    const reach = [...document.querySelectorAll('.stack.series-1 .layer')].map((e) => e.getAttribute('title'));
    // The input is at the bottom: the first layer is the last line.
    expect(reach.slice(-2)).toEqual([
      'full: 128 of 128 tokens, 65 on average',
      expect.stringMatching(/^swa:8: 8 of 128 tokens, 8 on average$/),
    ]);
    const words = texts('.words dt');
    expect(words).toEqual(expect.arrayContaining(['full', 'swa:8', 'nope', 'recall', 'retrieval head', 'nat', 'seed']));
    expect(words).not.toContain('needle accuracy');
    expect(new Set(words).size).toBe(words.length);
  });

  it('links to the runs and the data beside it, and only a page that has them', () => {
    const dir = temporaryFolder();
    const { analyzed, html } = plain();
    const written = readFileSync(writeReport(dir, analyzed, { folder: dir, repeat: [] }).html, 'utf8');
    const links = (page: string) =>
      [...(parseHTML(page) as unknown as Page).document.querySelectorAll('.data a, td a')].map((e) =>
        e.getAttribute('href'),
      );
    expect(links(written)).toEqual([
      ...['report.csv', 'report.json', 'runs/'],
      ...quickstart().map(({ name }) => `runs/${name}/`),
    ]);
    const beside = writeReport(join(dir, 'out put'), analyzed, { folder: dir, repeat: [] });
    expect(links(readFileSync(beside.html, 'utf8'))).toContain(`../runs/${quickstart()[0]?.name}/`);
    expect(links(html)).toEqual([]);
  });

  it('names every engine once, with why it was taken', () => {
    const records = [...plain().analyzed.records.values()];
    const engines = [
      null,
      { name: 'xla', reason: 'b' },
      { name: 'onnx', reason: 'a, c' },
      { name: 'xla', reason: 'b' },
    ];
    const changed = records.slice(0, engines.length).map((record, i) => ({ ...record, engine: engines[i] ?? null }));
    expect(engineLine(changed)).toBe('onnx (a, c); xla (b)');
    expect(engineLine(changed.slice(0, 1))).toBe('');
  });

  it('says which device did what, and where the time went', () => {
    const dir = study(quickstart());
    const run = join(dir, 'runs', quickstart()[0]?.name ?? '');
    const change = (file: string, more: object) => {
      const path = join(run, file);
      writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...more }));
    };
    const cells = (): string[] => pageOf(dir).texts('td');
    expect(plain().texts('td')).not.toContain('cuda:1 (NVIDIA H200), cuda:0 (NVIDIA H200)');
    change('status.json', { timing: { total: 100, steps: 93, firstStep: 1, compile: 3.25 } });
    const resumes = [{ at: '2026-01-01T00:00:00Z', place: 'cuda:0 (NVIDIA H200)' }];
    change('config.json', { place: 'cuda:1 (NVIDIA H200)', resumes });
    const at = cells().indexOf('cuda:1 (NVIDIA H200), cuda:0 (NVIDIA H200)');
    expect(cells().slice(at, at + 6)).toEqual([
      'cuda:1 (NVIDIA H200), cuda:0 (NVIDIA H200)',
      ...['100', '6.0 %', '0', '0', '3.25'],
    ]);
  });

  it('is sure of more with more seeds, in times fewer tokens, and says what had not come to rest', () => {
    const third = quickstart().flatMap((run) =>
      run.seed === 1 ? [{ ...run, seed: 3, name: `${run.pattern}_seed-3`, formsAt: 0.98 * run.formsAt }] : [],
    );
    const verdicts = verdictsIn(study([...quickstart(), ...third]));
    expect(verdicts).toContainEqual(
      expect.stringMatching(
        /swa:8 \+ full:nope gets there with 1\.[34] × fewer tokens \(1\.\d to [12]\.\d ×\) than swa:8 \+ full\. .*\(3 seeds, paired\)/,
      ),
    );
    expect(verdicts).toContainEqual(
      expect.stringMatching(
        /\(lower with swa:8 \+ full by 0\.4\d\d to 0\.4\d\d\)\. Still moving when training stopped \(over the last quarter of the tokens held-out loss fell by 0\.0\d with swa:8 \+ full; /,
      ),
    );
  });

  it('draws every figure, labeled for screen readers', () => {
    const { texts, document } = plain();
    expect(texts('figure h3')).toEqual([
      'Recall by distance, while training: distance 65 to 128, beyond every window',
      'Recall by distance, while training',
      'Tokens until recall beyond every window reaches 0.9',
      'Retrieval heads over checkpoints',
      'Final loss against final far recall',
      'Strongest retrieval head, while training',
      'Number of retrieval heads, while training',
      'Held-out loss, while training',
      'Training: loss, learning rate, gradient norm',
      'Loss by position',
      'Recall at distances 65 to 128 for what it costs',
      'Held-out loss for what it costs',
    ]);
    // The main panel stands first and large, and not a second time.
    expect(texts('figure.hero .at-wide svg, figure.hero .at-narrow svg')).toHaveLength(2);
    expect(texts('.panel h4').slice(0, 3)).toEqual(['Distance 1 to 16', 'Distance 17 to 32', 'Distance 33 to 64']);
    expect(texts('.panel h4')).toEqual(expect.arrayContaining(['Training loss', 'Learning rate', 'Gradient norm']));
    expect(texts('svg.grid')).toContainEqual(expect.stringMatching(/layer ↑.*head →$/));
    // Small scores can be told from none.
    expect(texts('svg.grid text')).toEqual(expect.arrayContaining(['.03', '.69']));
    for (const svg of document.querySelectorAll('figure svg')) {
      expect(svg.getAttribute('role')).toBe('img');
      expect(svg.getAttribute('aria-label')).not.toBe('');
    }
    expect(texts('figure title')).toContainEqual('swa:64 + full, seed 2: not within 2.46 M tokens');
    expect(texts('figure title')).toContainEqual(expect.stringMatching(/^layer 1 \(full\), head 1: 0\.69\d$/));
  });

  it('needs nothing from outside', () => {
    const { html, document } = plain();
    expect(html).not.toMatch(/(src|href)\s*=\s*["'](?!#|data:)/);
    expect(html).not.toMatch(/@import|url\(/);
    expect(document.querySelectorAll('[src], iframe, object')).toHaveLength(0);
  });

  it('does not run or show text from labels as markup', () => {
    const runs = quickstart().map((run) => ({ ...run, architecture: `<img onerror=x>${run.architecture}` }));
    const { document } = pageOf(study(runs));
    expect(document.querySelectorAll('img')).toHaveLength(0);
  });

  it('gives the same numbers as JSON, as CSV and in the table', () => {
    const { analyzed, document } = plain();
    const files = writeReport(temporaryFolder(), analyzed, { repeat: [] });
    const json = JSON.parse(readFileSync(files.json, 'utf8')) as Analysis & {
      curves: Record<string, Record<string, [number, number][]>>;
    };
    const runs = json.groups[0]?.runs ?? [];
    const [head, ...lines] = readFileSync(files.csv, 'utf8').trim().split('\r\n');
    const columns = head?.split(',') ?? [];
    const cell = (line: string | undefined, name: string) => line?.split(',')[columns.indexOf(name)];
    expect(lines).toHaveLength(8);
    runs.forEach((run, i) => {
      expect(cell(lines[i], 'run')).toBe(run.name);
      expect(Number(cell(lines[i], 'final_loss'))).toBe(run.finalLoss);
      expect(Number(cell(lines[i], 'far_recall'))).toBe(run.farRecall);
      expect(cell(lines[i], 'threshold_reached')).toBe(String(run.toThreshold?.reached));
      expect(Number(cell(lines[i], 'tokens_to_threshold'))).toBe(run.toThreshold?.tokens);
      const series = json.curves[run.name]?.['eval/recall/65-128'] ?? [];
      expect(series.at(-1)?.[1]).toBe(run.farRecall);
    });
    const rows = [...document.querySelectorAll('table.sortable tbody tr')].map((r) => r.textContent);
    expect(rows).toHaveLength(8);
    runs.forEach((run, i) => expect(rows[i]).toContain(run.finalLoss?.toFixed(4)));
  });

  it('leaves unfinished and failed runs out of comparisons, and says so', () => {
    const runs = quickstart().map((run, i) =>
      i === 2 ? { ...run, state: 'failed' as const, message: 'training diverged' } : run,
    );
    const { texts } = pageOf(study(runs));
    expect(texts('.note')).toEqual(['Runs left out of comparisons: failed, training diverged: swa-8_seed-1.']);
    expect(texts('.question li')).toContainEqual(
      expect.stringContaining('swa:8 + full and swa:64 + full: one seed, so not judged.'),
    );
  });

  it('shows a running study as far as it is: curves of every run, and nothing that looks final', () => {
    const runs = quickstart().map((run, i) =>
      i < 2 ? run : { ...run, state: 'running' as const, upTo: i === 2 ? 25 : 200 },
    );
    const dir = study(runs);
    rmSync(join(dir, 'runs', runs[7]?.name ?? ''), { recursive: true });
    writeFileSync(join(dir, 'runs', runs[6]?.name ?? '', 'config.json'), '{ cut off');
    const { analyzed, html, texts } = pageOf(dir);
    expect(texts('header p').at(-1)).toContain('2 of 8 runs finished');
    expect(texts('.note')[0]).toMatch(
      /^2 of 8 runs finished so far\. Runs left out of comparisons: begun: swa-8_seed-1 \(4 %\), swa-8_seed-2 \(33 %\), .*unreadable, .*config\.json is not valid JSON.*not started: /,
    );
    expect(texts('.legend button').length).toBe(3);
    // One evaluation so far is a mark, as a line of one point is not seen.
    expect(html).toMatch(/fill="none" class="series-1"|class="series-1"[^>]*fill="none"/);
    expect(texts('.badge').every((badge) => badge.endsWith('so far'))).toBe(true);
    expect(texts('h2')).not.toContain('What the runs say');
    const { csv } = writeReport(dir, analyzed, { repeat: [] });
    expect(
      readFileSync(csv, 'utf8')
        .split('\r\n')
        .filter((line) => line.includes(',running,')),
    ).toHaveLength(4);
  });

  it('shows a study without any finished run', () => {
    const { texts } = pageOf(study(quickstart({ state: 'interrupted', upTo: 100 })));
    expect(texts('header p').at(-1)).toContain('0 of 8 runs finished');
    expect(texts('figure h3')).toContain('Held-out loss, while training');
    expect(texts('.question')).toEqual([]);
  });

  it('says beside speeds that runs shared a machine, and only there', () => {
    const { texts } = plain();
    expect(texts('.footnote').at(-1)).toContain('not to be compared');
    expect(texts('td').filter((text) => text === '35,000 *')).toHaveLength(8);
    const later = quickstart().map((run, i) => ({ ...run, startedAt: `2026-01-0${i + 1}T00:00:00.000Z` }));
    expect(pageOf(study(later)).texts('.footnote').join()).not.toContain('not to be compared');
  });

  it('tells of short range only what was measured there', () => {
    const nope = plain().verdicts.find((text) => text.includes('At short range')) ?? '';
    expect(nope).toMatch(
      /At short range, the cost at the end: recall at distances 1 to 16 \S+ to \S+ against \S+ to \S+ \(no difference shown: -?0\.0\d\d to 0\.0\d\d\)\.$/,
    );
    expect(nope).not.toContain('held-out loss');
  });

  it('draws a constant series inside of its card, and equal designs apart', () => {
    const runs = quickstart().map((run) => ({ ...run, formsAt: Infinity }));
    const { document, texts } = pageOf(study(runs));
    const labels = texts('figure svg text');
    expect(labels.filter((label) => label.length > 7 && /^[-\d.]+$/.test(label))).toEqual([]);
    const styles = seriesStyles(Array.from({ length: 16 }, (_, i) => String(i)));
    expect(new Set(styles.map((s) => `${s.color} ${s.dash}`)).size).toBe(16);
    expect(styles.filter((s) => s.dash === undefined)).toHaveLength(1);
    for (const i of [0, 1, 2, 3]) {
      expect(document.querySelectorAll(`figure g.series-${i}[fill="none"] path`).length).toBeGreaterThan(0);
    }
  });

  it('means the same distances while designs are missing', () => {
    const runs = quickstart().map((run) => (run.pattern === 'swa-64' ? { ...run, state: 'running' as const } : run));
    const { analysis } = analyzeStudyFolder(study(runs));
    expect(analysis.groups[0]).toMatchObject({ largestWindow: 64, far: [{ from: 65, to: 128 }] });
  });

  it('shows no difference where seeds overlap', () => {
    const runs = quickstart().map((run) => ({ ...run, formsAt: run.seed === 1 ? 0.9e6 : 1.3e6, finalLoss: 1.5 }));
    const { texts } = pageOf(study(runs));
    expect(texts('.badge').filter((badge) => badge !== 'none shown')).toEqual([]);
  });

  it('judges associative recall on text: when it forms, and where it ends', () => {
    const third = quickstart().flatMap((run) =>
      run.seed === 1 ? [{ ...run, seed: 3, name: `${run.pattern}_seed-3` }] : [],
    );
    const runs = [...quickstart(), ...third].map((run) => ({ ...run, text: true, ar: true }));
    const page = pageOf(study(runs));
    const verdicts = verdictsOf(page.analyzed);
    expect(verdicts).toContainEqual(
      expect.stringMatching(
        /swa:8 \+ full gets there with at least \d\.\d × fewer tokens than full\. Associative recall at distances 97 to 128 is right in 0\.1 of the cases after \d+ k to \d+ k tokens, against not within 2\.46 M tokens \(3 seeds, paired\)\./,
      ),
    );
    expect(verdicts).toContainEqual(
      expect.stringMatching(
        /swa:8 \+ full and full end apart\. .*associative recall at distances 97 to 128 \(top-1\) 0\.69 to 0\.70 against 0\.05( to 0\.06)? \(lower with full by 0\.6\d\d to 0\.6\d\d\), its loss \S+ to \S+ against \S+ to \S+ nats \(lower with swa:8 \+ full by/,
      ),
    );
    // Both end alike, and the one recalls before it has learned as much otherwise.
    expect(verdicts).toContainEqual(
      expect.stringMatching(
        /swa:8 \+ full:nope recalls more at equal loss than swa:8 \+ full\. Where the loss of tokens whose bigram is new is \d\.\d\d to \d\.\d\d nats, the mean of associative recall at distances 97 to 128 \(top-1\) is 0\.\d\d( to 0\.\d\d)? against 0\.\d\d( to 0\.\d\d)? \(lower with swa:8 \+ full by 0\.\d{3} to 0\.\d{3}\); 3 seeds\./,
      ),
    );
    expect(page.texts('figure h3')).toContain('Far associative recall against the loss of new bigrams');
    const { analysis } = analyzeStudyFolder(study(runs, { compare: { ...COMPARE, arThreshold: 0.69 } }));
    expect(analysis.groups[0]?.verdicts[0]?.text).toContain('is right in 0.69 of the cases');
    // Where no text was recalled, no word of it.
    expect(plain().texts('.question').join(' ')).not.toMatch(/ssociative/);
  });

  it('tells tokens to each loss that the study asks for, before anything else', () => {
    const runs = quickstart().map((run) => ({ ...run, finalLoss: run.architecture === 'full' ? 1.5 : 1.2 }));
    const dir = study(runs, { compare: { ...COMPARE, lossThreshold: [2.5, 1.9, 0.5] } });
    const page = pageOf(dir);
    const [group] = page.analyzed.analysis.groups;
    const pair = group?.pairs.find(({ b }) => b === 'full');
    const at = new Map(pair?.lossTokensAt?.map(({ threshold, tokens }) => [threshold, tokens]));
    expect([...at.keys()]).toEqual([2.5, 1.9, 0.5]);
    // Each is where the recorded losses first are at most the threshold, between that evaluation and the one before.
    for (const run of group?.runs ?? []) {
      const value = at.get(1.9)?.values.find(({ seed }) => seed === run.seed);
      const own = run.architecture === pair?.a ? value?.a : run.architecture === 'full' ? value?.b : undefined;
      if (own === undefined) continue;
      const lines = readFileSync(join(dir, 'runs', run.name, 'metrics.jsonl'), 'utf8')
        .trimEnd()
        .split('\n');
      const losses = lines
        .map((line) => JSON.parse(line) as Record<string, number>)
        .filter((line) => line['eval/loss'] !== undefined);
      const first = losses.findIndex((line) => line['eval/loss']! <= 1.9);
      expect(own).toEqual({ reached: true, after: losses[first - 1]?.tokens, tokens: losses[first]?.tokens });
    }
    expect(at.get(0.5)?.values.every(({ a, b }) => !a.reached && !b.reached)).toBe(true);
    const texts = group?.verdicts.filter((v) => v.a === pair?.a && v.b === 'full').map(({ text }) => text) ?? [];
    expect(texts[0]).toContain('Held-out loss is at most 2.5 nats');
    expect(texts[1]).toContain('Held-out loss is at most 1.9 nats');
    expect(page.texts('figure h3')).toContain('Tokens until held-out loss is at most 1.9 nats');
    // Where no loss is asked for, no word of it.
    expect(pageOf(study(runs)).texts('figure h3').join()).not.toContain('Tokens until held-out loss');
  });

  it('tells tokens to each of several thresholds of associative recall', () => {
    const runs = quickstart().map((run) => ({ ...run, text: true, ar: true }));
    const dir = study(runs, { compare: { ...COMPARE, arThreshold: [0.1, 0.5, 0.9] } });
    const page = pageOf(dir);
    const [group] = page.analyzed.analysis.groups;
    const pair = group?.pairs.find(({ b }) => b === 'full');
    expect(pair?.arTokensAt?.map(({ threshold }) => threshold)).toEqual([0.1, 0.5, 0.9]);
    expect(pair?.arTokensAt?.[0]?.tokens).toEqual(pair?.arTokens);
    // Three thresholds are judged at once, so that each says less than it would alone.
    const alone = analyzeStudyFolder(study(runs, { compare: { ...COMPARE, arThreshold: 0.5 } })).analysis;
    const half = pair?.arTokensAt?.[1]?.tokens;
    const only = alone.groups[0]?.pairs.find(({ b }) => b === 'full')?.arTokens;
    expect(half?.values).toEqual(only?.values);
    expect(half?.ratio?.low).toBeLessThan(only?.ratio?.low ?? 0);
    const texts =
      group?.verdicts.filter(({ a, b }) => a === 'swa:8 + full' && b === 'full').map(({ text }) => text) ?? [];
    expect(texts.filter((text) => text.includes('is right in'))).toEqual([
      expect.stringMatching(/is right in 0\.1 of the cases (?!.*No run)/),
      expect.stringMatching(/is right in 0\.5 of the cases .* No run of theirs gets to 0\.9\.$/),
    ]);
    expect(page.texts('figure h3').filter((title) => title.startsWith('Tokens until'))).toEqual(
      [0.1, 0.5, 0.9].map((threshold) => `Tokens until far associative recall reaches ${threshold}`),
    );
    expect(page.texts('th')).toEqual(expect.arrayContaining(['tokens to 0.1 of it', 'tokens to 0.9 of it']));
    // The table has a line for each threshold; the answer in words is given once.
    const answers = [...page.document.querySelectorAll('.question')].map((one) =>
      [...one.querySelectorAll('li strong')].map((lead) => lead.textContent),
    );
    expect(answers.flat().length).toBeGreaterThan(0);
    for (const own of answers) expect(new Set(own).size).toBe(own.length);
    const files = writeReport(dir, page.analyzed, { repeat: [] });
    const [head = '', first = ''] = readFileSync(files.csv, 'utf8').split('\r\n');
    const cell = (name: string) => first.split(',')[head.split(',').indexOf(name)];
    expect(cell('ar_tokens_to_0.1')).toBe(cell('ar_tokens_to_threshold'));
    expect(cell('ar_reached_0.9')).toBe('false');
  });

  it('shows loss and needles where there is no recall', () => {
    const runs = quickstart({ text: true }).map((run) => ({ ...run, finalLoss: run.pattern === 'full' ? 1.2 : 1.6 }));
    const { texts } = pageOf(study(runs));
    expect(texts('figure h3')).toContain('Needle in a haystack');
    expect(texts('figure h3')).not.toContain('Recall by distance, while training');
    expect(texts('.question li')).toContainEqual(
      expect.stringContaining('full ends at a lower loss than swa:8 + full.'),
    );
    expect(texts('th')).toContain('needle accuracy (95 %)');
    // The mean of the grid, 0.5625 of 6 cells of 32 samples, after Wilson.
    expect(texts('td')).toContain('0.563 (0.492 to 0.631)');
    expect(texts('figure title')).toContainEqual(
      expect.stringMatching(/^length 64, depth 100 %, 64 samples, 95 %: 0\.94 to 1\.00: /),
    );
  });

  it('compares the arms separately', () => {
    const long = quickstart({ steps: 2000, formsAt: 3e6 }).map((run) => ({
      ...run,
      name: `${run.name}_long`,
      arm: 'long' as const,
    }));
    const { texts } = pageOf(study([...quickstart(), ...long]));
    expect(texts('h2').filter((title) => title.endsWith('arm'))).toEqual(['Main arm', 'Long arm']);
  });

  it('says when nothing has finished', () => {
    const { texts } = pageOf(study(quickstart({ state: 'running', upTo: 100 })));
    expect(texts('.note').at(-1)).toBe('No run has finished yet.');
  });

  it('refuses a folder without a study', () => {
    const dir = temporaryFolder();
    expect(messageOf(() => analyzeStudyFolder(dir))).toMatch(/^cannot read .*study\.json/);
  });
});

describe('the report of a run', () => {
  it('shows what it measured, without verdicts, even unfinished', () => {
    const dir = join(temporaryFolder(), 'run');
    writeFakeRun(dir, { name: 'demo', pattern: 'swa-8', seed: 3, formsAt: 0.5e6, state: 'interrupted', upTo: 300 });
    const html = reportHtml(analyzeRunFolder(dir), { repeat: ['longsight train x'] });
    const { document } = parseHTML(html) as unknown as Page;
    const text = document.documentElement.textContent;
    expect(text).toContain('swa:8 full, 222 k parameters, 2.46 M tokens a run, seed 3; interrupted.');
    expect(text).toContain('longsight train x');
    expect(document.querySelectorAll('.question')).toHaveLength(0);
    expect(document.querySelectorAll('figure').length).toBeGreaterThan(4);
  });
});
