/** The report's style sheet. */

/** Colors that the style sheet defines for light and dark; designs past the last share them. */
export const NUM_COLORS = 8;

// Found by search: as far apart as can be, also to eyes that lack a kind of cone (test/unit/palette.test.ts), near the
// hues of Okabe and Ito's set, with a contrast of 3 to the page. One set for each background.
const LIGHT = ['#0067b0', '#c9480a', '#2aa350', '#860070', '#643f15', '#9487b3', '#3a4b41', '#c87787'];
const DARK = ['#62b0f5', '#ff9350', '#5cffaa', '#b352a9', '#ffed51', '#c7f3f7', '#ad909b', '#d5414f'];

function palette(colors: readonly string[]): string {
  return colors
    .slice(0, NUM_COLORS)
    .map((color, i) => `--c${i}: ${color};`)
    .join(' ');
}

const LIGHT_THEME = `color-scheme: light; --bg: #f6f6f3; --card: #ffffff; --ink: #1b2024; --soft: #59636d; --line: #dfe0da;
  --accent: #0067b0; --good: #00754f; --good-bg: #e2f3eb; --flat: #59636d; --flat-bg: #ececea; --open: #8a5a00; --open-bg: #fbf0d9;
  --shade: rgb(0 0 0 / 14%); --heat: #0067b0; --empty: #eff0ec; --on: #ffffff; ${palette(LIGHT)}`;
const DARK_THEME = `color-scheme: dark; --bg: #111417; --card: #1a1e22; --ink: #e6e8ea; --soft: #9aa5af; --line: #2d343a;
  --accent: #62b0f5; --good: #5ad6a8; --good-bg: #12352a; --flat: #a9b2ba; --flat-bg: #2a3036; --open: #f0bf63; --open-bg: #3a2d12;
  --shade: rgb(255 255 255 / 9%); --heat: #62b0f5; --empty: #23292e; --on: #0c1116; ${palette(DARK)}`;

/** The style sheet of the report. */
export const STYLE = `
:root { ${LIGHT_THEME} }
@media (prefers-color-scheme: dark) { :root { ${DARK_THEME} } }
:root[data-theme="light"] { ${LIGHT_THEME} }
:root[data-theme="dark"] { ${DARK_THEME} }
* { box-sizing: border-box; }
body { --surface: var(--bg); margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main, header { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; display: flex; gap: 16px; align-items: flex-start; justify-content: space-between; }
main { padding-bottom: 60px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 40px 0 12px; letter-spacing: -0.005em; }
h3 { font-size: 1rem; margin: 0 0 10px; }
h4 { font-size: 0.85rem; font-weight: 600; margin: 0 0 4px; color: var(--soft); }
p { margin: 0 0 10px; max-width: 75ch; }
.lead { color: var(--soft); font-size: 1.05rem; }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: 8px; padding: 4px 10px; cursor: pointer; }
button:hover, button:focus-visible { border-color: var(--accent); }
#theme { font-size: 0.85rem; color: var(--soft); white-space: nowrap; }
.headline { font-size: 1.15rem; line-height: 1.5; margin: 10px 0; max-width: 70ch; }
.data a, td a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 0.88rem; margin-top: 6px; }
nav a { color: var(--accent); text-decoration: none; }
nav a:hover, nav a:focus-visible { text-decoration: underline; }
.compared { display: flex; flex-wrap: wrap; gap: 16px; }
.task { flex: 1 1 320px; }
.task, .designs { --surface: var(--card); background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.designs { flex: 1 1 100%; }
.task p, .designs p { color: var(--soft); font-size: 0.88rem; margin: 10px 0 0; }
.strip { display: flex; flex-wrap: wrap; gap: 4px; font: 0.9rem ui-monospace, monospace; }
.strip span { border: 1px solid var(--line); border-radius: 6px; padding: 3px 8px; }
.strip .key { border-color: var(--accent); color: var(--accent); font-weight: 600; }
.strip .value { background: var(--good-bg); border-color: var(--good); color: var(--good); font-weight: 600; }
.strip .ask { background: var(--open-bg); border-color: var(--open); color: var(--open); font-weight: 600; }
.strip .other { color: var(--soft); }
.stacks { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 230px), 1fr)); gap: 16px 22px; align-items: end; }
.stack h4 { color: var(--ink); display: flex; gap: 8px; align-items: center; }
.stack h4 i { width: 12px; height: 12px; border-radius: 3px; flex: none; }
.layer { display: grid; grid-template-columns: 7.5em 1fr; gap: 8px; align-items: center; margin-top: 3px; font-size: 0.82rem; }
.layer code { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.reach { display: block; height: 14px; border: 1px solid var(--line); border-radius: 3px; background: var(--empty); overflow: hidden; direction: rtl; }
.reach b { display: block; height: 100%; background: var(--heat); }
.reach.state { background: repeating-linear-gradient(45deg, var(--empty) 0 4px, var(--soft) 4px 5px); }
.words { margin: 14px 0; }
.words dl { columns: 2 300px; column-gap: 28px; font-size: 0.88rem; margin: 10px 0; }
.words div { break-inside: avoid; margin-bottom: 6px; }
.words dt { font-weight: 600; display: inline; }
.words dt::after { content: ": "; }
.words dd { margin: 0; display: inline; color: var(--soft); }
.word { font-weight: 600; white-space: nowrap; }
.word.shown { color: var(--good); }
.word.few, .word.open { color: var(--open); }
.question .scroll { margin-top: 12px; }
.figures + .question { margin-top: 16px; }
table.pairs td { white-space: normal; }
table.map { width: auto; }
table.map td.cell { text-align: center; min-width: 4.5em; border: 2px solid var(--card); background: color-mix(in srgb, var(--heat) var(--share, 0%), var(--empty)); }
table.map td.on { color: var(--on); }
table.map td.best { border-color: var(--ink); font-weight: 700; }
table.map tbody th { color: var(--ink); }
table.costs tbody th { color: var(--ink); white-space: nowrap; vertical-align: middle; }
table.costs td:last-child { white-space: normal; min-width: 11em; }
.key { display: inline-block; vertical-align: -1px; }
tr.pair th { color: var(--ink); padding-top: 12px; }
tfoot th, tfoot td { font-weight: 600; color: var(--ink); white-space: nowrap; }
.sortable th[aria-sort] { color: var(--accent); }
.sortable thead th { cursor: pointer; }
.save { display: inline-flex; gap: 6px; margin-left: 10px; vertical-align: middle; }
.save button { font-size: 0.72rem; padding: 0 7px; color: var(--soft); font-weight: 400; }
.questions { display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px; }
.question, figure { --surface: var(--card); background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; margin: 0; }
.question ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 10px; }
.question li { display: grid; grid-template-columns: 10.5rem 1fr; gap: 12px; align-items: start; }
.badge { font-size: 0.78rem; font-weight: 600; border-radius: 999px; padding: 2px 10px; text-align: center; margin-top: 2px; }
.badge.shown { color: var(--good); background: var(--good-bg); }
.badge.none { color: var(--flat); background: var(--flat-bg); }
.badge.open, .badge.few { color: var(--open); background: var(--open-bg); }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin-top: 14px; }
figure { grid-column: 1 / -1; }
figure.half { grid-column: span 1; }
figure.panels .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(236px, 1fr)); gap: 14px 10px; }
.panel { display: grid; align-content: end; }
.panel svg { width: 100%; max-width: 340px; }
figure.wide > .plots, .scroll { overflow-x: auto; background:
  linear-gradient(to right, var(--surface) 30%, transparent) left / 40px 100% no-repeat local,
  linear-gradient(to left, var(--surface) 30%, transparent) right / 40px 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left / 14px 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) right / 14px 100% no-repeat scroll; }
figure.wide > .plots > svg { min-width: 640px; }
.more::before { content: "scroll sideways for more →"; display: block; position: sticky; left: 0; width: max-content; font-size: 0.8rem; color: var(--soft); padding-bottom: 4px; }
.at-narrow { display: none; }
figure.hero .plots > svg, .at-wide > svg { width: 100%; max-width: 1040px; }
.at-narrow > svg, figure.half .plots > svg { width: 100%; max-width: 560px; }
figcaption { color: var(--soft); font-size: 0.85rem; margin-top: 10px; max-width: 90ch; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; --plot-background: var(--card); }
svg text { white-space: pre; }
svg.grid { flex: none; max-width: none; font: 13px system-ui, sans-serif; fill: currentColor; }
svg.grid .tick { fill: var(--soft); font-size: 12px; }
svg.grid .title { font-weight: 600; }
svg.grid .empty { fill: var(--empty); }
svg.grid .heat { fill: var(--heat); }
svg.grid .marked { stroke: var(--ink); stroke-width: 1.5; }
svg.grid text.on { fill: var(--on); font-size: 12px; }
svg.grid text.off { font-size: 12px; fill: var(--soft); }
.maps { display: grid; gap: 14px; }
.maps.side { grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); }
.maps.side .scale { grid-column: 1 / -1; }
.grids { display: flex; gap: 18px; }
.scale { display: flex; gap: 8px; align-items: center; font-size: 0.8rem; color: var(--soft); }
.ramp { display: inline-flex; border: 1px solid var(--line); border-radius: 3px; background: var(--empty); }
.ramp i { width: 14px; height: 12px; background: var(--heat); }
.legend { display: flex; flex-wrap: wrap; gap: 8px; position: sticky; top: 0; z-index: 2; background: var(--bg); padding: 10px 0; max-height: 30vh; overflow-y: auto; }
.legend button { display: inline-flex; gap: 8px; align-items: center; background: var(--card); font-size: 0.88rem; }
.legend button[aria-pressed="false"] { opacity: 0.4; text-decoration: line-through; }
.legend svg { overflow: visible; }
.legend .layers { color: var(--soft); font-family: ui-monospace, monospace; font-size: 0.8rem; }
table { border-collapse: collapse; font-size: 0.86rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
tbody th { vertical-align: inherit; }
.n { text-align: right; }
details { margin-top: 10px; }
summary { cursor: pointer; color: var(--accent); font-size: 0.9rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto; font-size: 0.82rem; line-height: 1.45; }
code { font-family: ui-monospace, "SF Mono", Menlo, monospace; font-size: 0.92em; }
.footnote { color: var(--soft); font-size: 0.85rem; margin-top: 8px; }
.note { background: var(--open-bg); color: var(--ink); border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
@media (max-width: 860px) { .figures { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 760px) {
  header { flex-direction: column; }
  main, header { padding-left: 12px; padding-right: 12px; }
  .question, figure { padding: 14px 12px; }
  .at-wide { display: none; }
  .at-narrow { display: block; }
  .figures { grid-template-columns: minmax(0, 1fr); }
  .question li { grid-template-columns: 1fr; gap: 4px; }
  .badge { justify-self: start; }
  .legend { position: static; }
}
@media print { #theme, .save, nav { display: none; } .legend { position: static; } figure { break-inside: avoid; } }
`;
