/** The playground's page. */
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import { STYLE } from '../../src/report/report-style.js';
import '../style.css';
import './playground.css';
import { App } from './app.js';

// Colors and figures are those of the report; its rules give way to the page's own.
const figures = new CSSStyleSheet();
figures.replaceSync(`@layer report { ${STYLE} }`);
document.adoptedStyleSheets = [figures];

const root = document.getElementById('app');
if (root !== null) render(<App />, root);
