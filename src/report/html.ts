/** Small pieces of HTML, and the page around them. */
import { SCRIPT, STYLE } from './report-style.js';

/** A text as HTML text or attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

/** A titled figure; `content` is HTML, title and caption are text. */
export function figure(
  title: string,
  content: string,
  caption: string,
  size: 'panels' | 'wide' | 'half' | 'hero' = 'panels',
): string {
  return (
    `<figure class="${size}"><h3>${escapeHtml(title)}</h3><div class="plots">${content}</div>` +
    `<figcaption>${escapeHtml(caption)}</figcaption></figure>`
  );
}

/** A plot for pages with room, and the same for narrow ones: style sheets show one of them. */
export function inTwoSizes(wide: string, narrow: string): string {
  return `<div class="at-wide">${wide}</div><div class="at-narrow">${narrow}</div>`;
}

/** One of several small plots in a figure. */
export function panel(title: string, svg: string): string {
  return `<div class="panel"><h4>${escapeHtml(title)}</h4>${svg}</div>`;
}

/** A section that opens when its summary is clicked. */
export function details(summary: string, content: string): string {
  return `<details><summary>${escapeHtml(summary)}</summary>${content}</details>`;
}

/** A table; cells are text, `numeric` columns are set right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  numeric: ReadonlySet<number>,
): string {
  const cell = (tag: string, text: string, i: number) =>
    `<${tag}${tag === 'th' ? ' scope="col"' : ''}${numeric.has(i) ? ' class="n"' : ''}>${escapeHtml(text)}</${tag}>`;
  const row = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((text, i) => cell(tag, text, i)).join('')}</tr>`;
  const body = rows.map((cells) => row('td', cells)).join('');
  return `<div class="scroll"><table><thead>${row('th', head)}</thead><tbody>${body}</tbody></table></div>`;
}

/** What a page of the report consists of. */
export interface PageParts {
  readonly title: string;
  readonly lead: string | null;
  /** One sentence: what is on the page. */
  readonly overview: string;
  /** HTML. */
  readonly body: string;
}

/** A page that needs nothing beside itself: no network, no other file. */
export function pageHtml({ title, lead, overview, body }: PageParts): string {
  const question = lead === null ? '' : `<p class="lead">${escapeHtml(lead)}</p>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><header><div><h1>${escapeHtml(title)}</h1>${question}<p>${escapeHtml(overview)}</p></div>
<button id="theme" type="button">Theme</button></header>
<main>${body}</main>
<script>${SCRIPT}</script></body></html>
`;
}
