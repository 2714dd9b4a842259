/** Small pieces of HTML, and the page around them. */
import { SCRIPT } from './report-script.js';
import { STYLE } from './report-style.js';

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
    `<figure class="${size}" data-name="${slug(title)}"><h3>${escapeHtml(title)}</h3><div class="plots">${content}</div>` +
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

/** A text as part of an address or file name. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** A heading of a page's contents. */
export function heading(text: string): string {
  return `<h2 id="${slug(text)}">${escapeHtml(text)}</h2>`;
}

/** The links to the headings of a page, each once. */
function contents(body: string): string {
  const found = new Map(
    [...body.matchAll(/<h2 id="([^"]*)">(.*?)<\/h2>/g)].map(([, id = '', text = '']) => [id, text]),
  );
  const links = [...found].map(([id, text]) => `<a href="#${id}">${text}</a>`);
  return links.length < 2 ? '' : `<nav aria-label="Contents">${links.join('')}</nav>`;
}

/** What a page of the report consists of. */
export interface PageParts {
  readonly title: string;
  /** The question. */
  readonly lead: string | null;
  /** What was found, in words; empty for nothing. */
  readonly headline: string;
  /** One sentence: what is on the page. */
  readonly overview: string;
  /** Files beside the page: what they are, and their relative addresses. */
  readonly links: readonly (readonly [text: string, address: string])[];
  /** HTML. */
  readonly body: string;
}

/** A page that needs nothing beside itself: no network, no other file. */
export function pageHtml({ title, lead, headline, overview, links, body }: PageParts): string {
  const question = lead === null ? '' : `<p class="lead">${escapeHtml(lead)}</p>`;
  const found = headline === '' ? '' : `<p class="headline">${escapeHtml(headline)}</p>`;
  const files = links.map(([text, address]) => `<a href="${escapeHtml(address)}">${escapeHtml(text)}</a>`);
  const data = files.length === 0 ? '' : `<p class="data">Data: ${files.join(', ')}</p>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><header><div><h1>${escapeHtml(title)}</h1>${question}${found}<p>${escapeHtml(overview)}</p>${data}</div>
<button id="theme" type="button">Theme</button></header>
<main>${contents(body)}${body}</main>
<script>${SCRIPT}</script></body></html>
`;
}
