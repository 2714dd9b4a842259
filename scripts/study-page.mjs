// What a page about studies is made of, from their records: for every study the report as one HTML file and a table (CSV), its
// figures as SVG files that a Markdown page can show, and numbers.md and numbers.json with every verdict, pair and run.
// usage: npm run -s build && node scripts/study-page.mjs --out docs/studies/real-text [--repeat COMMAND]... [--as PATH=NAME]...
//   [--figure TITLE]... STUDY_FOLDER...
// --repeat: a command that makes the records, as it stands in the pages; may be repeated. --as: the name that stands for a folder of
// the machine that made the records, such as /data/shards=FOLDER; may be repeated. --figure: only figures of this title, for grids,
// whose every point has all of them; may be repeated. A text between the lines
// `<!-- numbers: begin -->` and `<!-- numbers: end -->` of OUT/README.md is replaced by numbers.md, if there is such a page.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { parseHTML } from 'linkedom';
import { formatTokens } from '../dist/core/index.js';
import { analyzeStudyFolder, reportHtml, reportJson, writeReport } from '../dist/report/index.js';

/** Pixels around a figure, of a line of its legend, of a panel's title. */
const [PAD, LEGEND_LINE, TITLE] = [12, 18, 20];
/** Outcomes of verdicts as words. */
const ANSWERS = { shown: 'shown', none: 'none shown', few: 'too few seeds', open: 'not judged' };

const { values, positionals: folders } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string' },
    repeat: { type: 'string', multiple: true, default: [] },
    as: { type: 'string', multiple: true, default: [] },
    figure: { type: 'string', multiple: true, default: [] },
  },
});
if (values.out === undefined || folders.length === 0) {
  console.error(
    'usage: node scripts/study-page.mjs --out FOLDER [--repeat COMMAND]... [--as PATH=NAME]... [--figure TITLE]... STUDY_FOLDER...',
  );
  process.exit(2);
}
const out = values.out;
/** Folders of the machine that made the records, and what stands for them in the pages. */
const renames = values.as.map((rename) => [
  rename.slice(0, rename.lastIndexOf('=')),
  rename.slice(rename.lastIndexOf('=') + 1),
]);
// Figures of an earlier page would stay under other numbers.
rmSync(join(out, 'figures'), { recursive: true, force: true });
mkdirSync(join(out, 'figures'), { recursive: true });
const studies = folders.map((folder) => ({ folder, analyzed: analyzeStudyFolder(folder) }));
const pages = studies.map(({ folder, analyzed }) => {
  const { name } = analyzed.analysis;
  const repeat = values.repeat.length > 0 ? values.repeat : [`longsight report ${basename(folder)}`];
  const html = reportHtml(analyzed, { repeat, files: { csv: `${name}.csv` } });
  const temporary = join(out, `.${name}.tmp`);
  const files = writeReport(temporary, analyzed, { repeat });
  put(`${name}.html`, html);
  put(`${name}.csv`, readFileSync(files.csv, 'utf8'));
  rmSync(temporary, { recursive: true });
  const wanted = figuresOf(html).filter(({ title }) => values.figure.length === 0 || values.figure.includes(title));
  const figures = wanted.map(({ title, caption, svg }, i) => {
    const file = `figures/${name}-${String(i + 1).padStart(2, '0')}-${slug(title)}.svg`;
    put(file, svg);
    return { title, caption, file };
  });
  return { name, figures, repeat, data: numbersOf(analyzed) };
});
put('numbers.json', `${JSON.stringify(Object.fromEntries(pages.map(({ name, data }) => [name, data])), null, 1)}\n`);
const markdown = pages.map(pageOf).join('\n\n');
put('numbers.md', `${markdown}\n`);
const readme = join(out, 'README.md');
if (existsSync(readme)) {
  const [start, end] = ['<!-- numbers: begin -->', '<!-- numbers: end -->'];
  const text = readFileSync(readme, 'utf8');
  const [from, to] = [text.indexOf(start), text.indexOf(end)];
  if (from >= 0 && to > from)
    put('README.md', `${text.slice(0, from + start.length)}\n\n${markdown}\n\n${text.slice(to)}`);
}
console.log(`wrote ${out}: ${pages.map(({ name, figures }) => `${name} (${figures.length} figures)`).join(', ')}`);

/** Writes a file; what names a folder of this machine is not published. */
function put(name, text) {
  const path = folders.map((folder) => resolve(folder)).find((folder) => text.includes(folder));
  if (path !== undefined) throw new Error(`${name} would name ${path}`);
  writeFileSync(
    join(out, name),
    renames.reduce((renamed, [from, to]) => renamed.replaceAll(from, to), text),
  );
}

function slug(text) {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** Every figure of plots, with its legend, as an SVG of its own in the report's colors, light and dark. */
function figuresOf(html) {
  const { document } = parseHTML(html);
  const style = document.querySelector('style').textContent;
  const roots = style
    .match(/(@media \(prefers-color-scheme: dark\) )?\{? ?:root \{[^}]*\}( \})?|:root \{[^}]*\}/g)
    .join('\n');
  return [...document.querySelectorAll('section')].flatMap((section) => {
    const legend = [...section.querySelectorAll('.legend button')].map((button) => ({
      line: button.querySelector('line').outerHTML,
      label: button.querySelector('span').textContent,
    }));
    return [...section.querySelectorAll('figure')].flatMap((figure) => {
      const own = [
        ...figure.querySelectorAll(
          '.plots > svg, .plots > .at-wide > svg, .plots > .panel > svg, .plots > div > .panel > svg',
        ),
      ];
      if (own.length === 0 || figure.querySelector('.maps') !== null) return [];
      const panels = own.map((svg) => ({ svg, title: svg.parentNode.querySelector('h4')?.textContent ?? '' }));
      const title = figure.querySelector('h3').textContent;
      const caption = figure.querySelector('figcaption')?.textContent ?? '';
      return [{ title, caption, svg: compose(title, panels, legend, roots) }];
    });
  });
}

function compose(title, panels, legend, roots) {
  const sizes = panels.map(({ svg }) => [Number(svg.getAttribute('width')), Number(svg.getAttribute('height'))]);
  const [cellWidth, cellHeight] = [0, 1].map((i) => Math.max(...sizes.map((size) => size[i])));
  const titled = panels.some((panel) => panel.title !== '') ? TITLE : 0;
  const columns = Math.min(panels.length, Math.max(1, Math.floor(1000 / cellWidth)));
  const width = Math.max(columns * cellWidth, 420) + 2 * PAD;
  const placed = placeLegend(legend, width);
  const top = PAD + placed.height;
  const cells = panels.map(({ svg, title: name }, i) => {
    const [x, y] = [PAD + (i % columns) * cellWidth, top + Math.floor(i / columns) * (cellHeight + titled)];
    svg.setAttribute('x', x);
    svg.setAttribute('y', y + titled);
    const label = titled
      ? `<text x="${x + 4}" y="${y + 14}" font-weight="600" font-size="12">${escape(name)}</text>`
      : '';
    return label + svg.outerHTML;
  });
  const height = top + Math.ceil(panels.length / columns) * (cellHeight + titled) + PAD;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" ` +
    `aria-label="${escape(title)}" font-family="system-ui, sans-serif" fill="var(--ink)" color="var(--ink)">` +
    `<style>${roots}</style><rect width="100%" height="100%" fill="var(--card)"/>${placed.text}${cells.join('')}</svg>\n`
  );
}

function placeLegend(legend, width) {
  let [x, y] = [PAD, PAD];
  const items = legend.map(({ line, label }) => {
    const needs = 36 + 7 * label.length + 16;
    if (x + needs > width - PAD && x > PAD) [x, y] = [PAD, y + LEGEND_LINE];
    const item = `<g transform="translate(${x},${y})">${line}<text x="32" y="9" font-size="12">${escape(label)}</text></g>`;
    x += needs;
    return item;
  });
  return { text: items.join(''), height: legend.length === 0 ? 0 : y - PAD + LEGEND_LINE + 6 };
}

function escape(text) {
  return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
}

/** What a reader may want to compute with: no curves, those are in the report. */
function numbersOf(analyzed) {
  const { title, question, rule, compare, groups, environment, scaling } = reportJson(analyzed);
  const timing = [...analyzed.records].map(([name, { ran, status, reused }]) => [
    name,
    {
      // Of a run that was stopped and continued, without the time between.
      seconds: status.timing?.total ?? (ran === null ? null : (ran.to - ran.from) / 1000),
      ...(status.timing === undefined ? {} : { where: status.timing }),
      ...(reused === undefined ? {} : { reused }),
    },
  ]);
  const own = groups.map(({ title: name, runs, pairs, verdicts, unfinished }) => ({
    ...{ title: name, verdicts, pairs, runs },
    unfinished: unfinished.map((run) => run.name),
    lengths: lengthsOf(runs, analyzed.records),
  }));
  return { title, question, rule, compare, environment, groups: own, timing: Object.fromEntries(timing), scaling };
}

function pageOf({ name, figures, repeat, data }) {
  const minutes = Object.values(data.timing).reduce((sum, { seconds }) => sum + (seconds ?? 0), 0) / 60;
  const runs = data.groups.flatMap((group) => group.runs);
  const reused = Object.values(data.timing).flatMap((run) => run.reused?.study ?? []);
  const others = [...new Set(reused)].map(
    (study) => `${reused.filter((own) => own === study).length} of them trained for ${study}`,
  );
  const lines = [
    `## ${data.title}`,
    '',
    ...(data.question === null ? [] : [data.question, '']),
    'Made by:',
    '',
    '```sh',
    ...repeat,
    '```',
    '',
    `${runs.length} finished runs, ${[`${minutes.toFixed(1)} minutes of run time in all`, ...others].join(', ')}. [The whole report](${name}.html), [one line a run](${name}.csv), ` +
      '[every number](numbers.json).',
  ];
  for (const group of data.groups) {
    if (data.groups.length > 1) lines.push('', `### ${group.title}`);
    if (group.unfinished.length > 0) lines.push('', `Not finished: ${group.unfinished.join(', ')}.`);
    lines.push('', ...verdictLines(group.verdicts), '', ...runTable(group.runs, data.timing));
    lines.push(...lengthTables(group.lengths));
  }
  lines.push(
    ...figures.flatMap(({ title, caption, file }) => ['', `### ${title}`, '', `![${title}](${file})`, '', caption]),
  );
  return lines.join('\n');
}

function verdictLines(verdicts) {
  return verdicts.map(({ outcome, lead, text }) => `- **${ANSWERS[outcome] ?? outcome}**: ${lead} ${text}`);
}

/** A line a run; columns that no run has are left out. Numbers of a part of the summary stand as `part.name`. */
function runTable(runs, timing) {
  const flat = runs.map((run) => ({ ...flatten(run), seconds: timing[run.name]?.seconds ?? null }));
  const skip = new Set(['name', 'state', 'budget', 'layers']);
  const columns = [...new Set(flat.flatMap((run) => Object.keys(run)))].filter(
    (key) => !skip.has(key) && flat.some((run) => run[key] !== null && run[key] !== undefined),
  );
  if (flat.length === 0) return [];
  return [
    `| ${columns.join(' | ')} |`,
    `| ${columns.map(() => '---').join(' | ')} |`,
    ...flat.map((run) => `| ${columns.map((key) => cell(key, run[key])).join(' | ')} |`),
  ];
}

/** What each run does in rows of several lengths (`analyze --only length`): a line a run, change of its positions and length. */
function lengthsOf(runs, records) {
  return runs.flatMap((run) => {
    const found = records.get(run.name)?.findings.length.at(-1);
    return (found?.lengths ?? []).flatMap(({ length, rows, sequences, documents, variants }) =>
      variants.map(({ name: variant, all, positions, ar }) => {
        const beyond = positions.filter(({ from }) => found.trained !== null && from > found.trained);
        const targets = beyond.reduce((sum, bin) => sum + bin.all.targets, 0);
        const far = ar?.far;
        return {
          ...{ run: run.name, architecture: run.architecture, variant, length, rows, sequences, documents },
          ...{ trained: found.trained, loss: all.loss },
          lossBeyond:
            targets === 0 ? null : beyond.reduce((sum, { all: of }) => sum + of.loss * of.targets, 0) / targets,
          far: far === undefined ? null : { from: far.from, targets: far.all.targets, accuracy: far.all.accuracy },
        };
      }),
    );
  });
}

/** Tables of these, a line a design and a column a length, the lowest and the highest of its runs in each cell. */
function lengthTables(lines) {
  const unique = (values) => [...new Set(values)];
  return unique(lines.map(({ variant }) => variant)).flatMap((variant) => {
    const own = lines.filter((line) => line.variant === variant);
    const lengths = unique(own.map(({ length }) => length)).sort((a, b) => a - b);
    const at = (length) => own.find((line) => line.length === length);
    const read = lengths.map((length) => {
      const { rows, sequences, documents } = at(length);
      const how = rows === 'packed' ? 'packed from' : 'from';
      return `${count(length)} tokens: ${sequences} rows ${how} ${documents} documents`;
    });
    const table = (title, of, digits) => [
      ...['', `| ${title} | ${lengths.map(count).join(' | ')} |`, `| --- |${' --- |'.repeat(lengths.length)}`],
      ...unique(own.map(({ architecture }) => architecture)).map((design) => {
        const cells = lengths.map((length) =>
          spread(own.filter((line) => line.architecture === design && line.length === length).map(of), digits),
        );
        return `| ${design} | ${cells.join(' | ')} |`;
      }),
    ];
    const [first] = own;
    const cases = lengths.map((length) => `${at(length).far?.targets ?? 0} from ${count(at(length).far?.from ?? 0)}`);
    return [
      ...['', `### In rows of ${lengths.map(count).join(', ')} tokens, ${variant}`, ''],
      `${read.join('; ')}. Lowest to highest of the runs.`,
      ...table('loss of all tokens, nats', ({ loss }) => loss, 2),
      ...(first.trained === null
        ? []
        : table(`loss after ${count(first.trained)} tokens`, (line) => line.lossBeyond, 2)),
      ...(first.far === null
        ? []
        : [
            ...table('far recall, top-1', ({ far }) => far?.accuracy ?? null, 3),
            `| *cases, tokens back* | ${cases.join(' | ')} |`,
          ]),
    ];
  });
}

/** The lowest and the highest of some values, once where they are the same. */
function spread(values, digits) {
  const known = values.filter((value) => value !== null).map((value) => value.toFixed(digits));
  if (known.length === 0) return '–';
  const [low, high] = [Math.min(...known.map(Number)), Math.max(...known.map(Number))].map((v) => v.toFixed(digits));
  return low === high ? low : `${low} to ${high}`;
}

function count(number) {
  return number.toLocaleString('en-US');
}

/** Numbers and texts of a summary, and those one level below; a crossing as its tokens. */
function flatten(value, prefix = '') {
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, v]) => {
      if (typeof v !== 'object' || v === null) return [[prefix + key, v]];
      if ('reached' in v) return [[prefix + key, v.reached ? v.tokens : `not within ${formatTokens(v.tokens)}`]];
      return prefix === '' && !Array.isArray(v) ? Object.entries(flatten(v, `${key}.`)) : [];
    }),
  );
}

function cell(key, value) {
  if (value === null || value === undefined) return '–';
  if (typeof value !== 'number') return String(value).replaceAll('|', '\\|');
  if (/tokens|threshold|parameters|flops/i.test(key)) return formatTokens(value);
  return Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) >= 100 ? 0 : 3);
}
