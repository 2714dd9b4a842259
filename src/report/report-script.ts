/** What a report does in a browser; without it, everything can be read all the same. */

/** The script of the report: theme, showing and hiding designs, sorting tables, saving figures. */
export const SCRIPT = String.raw`
const root = document.documentElement;
const button = document.getElementById('theme');
const dark = () => (root.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
const name = () => { button.textContent = dark() ? 'Light theme' : 'Dark theme'; };
button.addEventListener('click', () => { root.dataset.theme = dark() ? 'light' : 'dark'; name(); });
name();
const scrollable = () => { for (const e of document.querySelectorAll('figure.wide > .plots, .scroll')) e.classList.toggle('more', e.scrollWidth > e.clientWidth + 1); };
addEventListener('resize', scrollable);
scrollable();
const sheet = document.head.appendChild(document.createElement('style'));
const hidden = new Set();
for (const b of document.querySelectorAll('[data-series]')) b.addEventListener('click', () => {
  const series = b.dataset.series;
  if (!hidden.delete(series)) hidden.add(series);
  for (const other of document.querySelectorAll('[data-series="' + series + '"]')) other.setAttribute('aria-pressed', String(!hidden.has(series)));
  sheet.textContent = [...hidden].map((s) => 'figure .' + s + ' { display: none; }').join(' ');
});
const NS = 'http://www.w3.org/2000/svg';
const LOOKS = ['fill', 'fill-opacity', 'stroke', 'stroke-opacity', 'stroke-width', 'stroke-dasharray', 'opacity', 'font-size', 'font-weight', 'text-anchor', 'display'];
const copyLooks = (from, to) => {
  const looks = getComputedStyle(from);
  for (const name of LOOKS) to.style.setProperty(name, looks.getPropertyValue(name));
  for (let i = 0; i < from.children.length; i++) copyLooks(from.children[i], to.children[i]);
};
const svgOf = (figure) => {
  const plots = figure.querySelector('.plots');
  const [title, box, page] = [figure.querySelector('h3').firstChild.textContent, plots.getBoundingClientRect(), getComputedStyle(document.body)];
  const own = [...plots.querySelectorAll('svg, h4, .scale span')].filter((e) => e.getBoundingClientRect().width > 0 && e.parentNode.closest('svg, details:not([open])') === null);
  const [left, top] = [box.left - plots.scrollLeft, box.top];
  const [width, height] = [Math.ceil(Math.max(plots.scrollWidth, ...own.map((e) => e.getBoundingClientRect().right - left))) + 32, Math.ceil(plots.scrollHeight) + 64];
  const svg = document.createElementNS(NS, 'svg');
  for (const [name, value] of Object.entries({ xmlns: NS, width, height, viewBox: '0 0 ' + width + ' ' + height, 'font-family': 'system-ui, sans-serif' })) svg.setAttribute(name, value);
  const text = (content, x, y, size, weight) => {
    const e = svg.appendChild(document.createElementNS(NS, 'text'));
    for (const [name, value] of Object.entries({ x, y, 'font-size': size, 'font-weight': weight, fill: page.color })) e.setAttribute(name, value);
    e.textContent = content;
  };
  const back = svg.appendChild(document.createElementNS(NS, 'rect'));
  for (const [name, value] of Object.entries({ width: '100%', height: '100%', fill: getComputedStyle(figure).backgroundColor })) back.setAttribute(name, value);
  text(title, 16, 28, 16, 600);
  for (const e of own) {
    const at = e.getBoundingClientRect();
    const [x, y] = [at.left - left + 16, at.top - top + 44];
    if (e.localName !== 'svg') { if (e.textContent.trim() !== '') text(e.textContent, x, y + 12, 13, 600); continue; }
    const copy = svg.appendChild(e.cloneNode(true));
    copyLooks(e, copy);
    for (const [name, value] of Object.entries({ x, y, width: at.width, height: at.height, overflow: 'visible', color: page.color })) copy.setAttribute(name, value);
  }
  return { text: new XMLSerializer().serializeToString(svg), width, height };
};
const offer = (url, name) => { const a = document.createElement('a'); a.href = url; a.download = name; a.click(); };
const save = async (figure, kind) => {
  const { text, width, height } = svgOf(figure);
  const url = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(text);
  if (kind === 'svg') return offer(url, figure.dataset.name + '.svg');
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = Object.assign(document.createElement('canvas'), { width: 2 * width, height: 2 * height });
  canvas.getContext('2d').drawImage(image, 0, 0, 2 * width, 2 * height);
  offer(canvas.toDataURL('image/png'), figure.dataset.name + '.png');
};
for (const figure of document.querySelectorAll('figure')) if (figure.querySelector('svg') !== null) {
  const tools = figure.querySelector('h3').appendChild(Object.assign(document.createElement('span'), { className: 'save' }));
  for (const kind of ['svg', 'png']) {
    const b = tools.appendChild(Object.assign(document.createElement('button'), { type: 'button', textContent: kind.toUpperCase(), title: 'save this figure as ' + kind.toUpperCase() }));
    b.addEventListener('click', () => void save(figure, kind));
  }
}
const rank = (cell) => {
  const text = cell.textContent.replace(/[,*]/g, '').trim();
  const [, more, number, unit] = /^(> )?(-?[\d.]+)(?: ([kMB])\b)?/.exec(text) ?? [];
  return number === undefined ? text : Number(number) * ({ k: 1e3, M: 1e6, B: 1e9 }[unit] ?? 1) * (more === undefined ? 1 : 1e3);
};
for (const table of document.querySelectorAll('table.sortable')) table.tHead.querySelectorAll('th').forEach((th, i, all) => {
  th.tabIndex = 0;
  th.title = 'sort';
  const sort = () => {
    const sign = th.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
    for (const other of all) other.removeAttribute('aria-sort');
    th.setAttribute('aria-sort', sign === 1 ? 'ascending' : 'descending');
    const rows = [...table.tBodies[0].rows].map((row) => [rank(row.cells[i]), row]);
    rows.sort(([a], [b]) => sign * (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b))));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  th.addEventListener('click', sort);
  th.addEventListener('keydown', (e) => { if (e.key === 'Enter') sort(); });
});
`;
