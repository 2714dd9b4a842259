/** Put into a page of the playground: has a worker train a run for some steps, and gives what it found. */
window.trainInWorker = (run, until, threads) =>
  new Promise((done, failed) => {
    const worker = new Worker(new URL('worker.js', location.href), { type: 'module' });
    const found = { steps: [], measured: null, milliseconds: [] };
    worker.onerror = (event) => failed(new Error(event.message));
    worker.onmessage = ({ data }) => {
      if (data.kind === 'failed') failed(new Error(data.message));
      if (data.kind === 'loaded') worker.postMessage({ kind: 'begin', run });
      if (data.kind === 'begun') worker.postMessage({ kind: 'train', until, measure: true });
      if (data.kind === 'measured') found.measured = data.point;
      if (data.kind === 'stepped') {
        found.steps.push(data.point);
        found.milliseconds.push(data.milliseconds);
      }
      if (data.kind === 'rests') {
        worker.terminate();
        done(found);
      }
    };
    worker.postMessage({ kind: 'load', files: new URL('.', location.href).href, threads });
  });
