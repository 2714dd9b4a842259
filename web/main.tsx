/** The dashboard's page. */
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { App } from './views/app.js';
import { store } from './lib/store.js';

const root = document.getElementById('app');
if (root !== null) {
  store.start();
  render(<App />, root);
}
