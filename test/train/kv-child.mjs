// One of two processes that share keys by PJRT's callbacks, called as a plugin calls them: from threads that are not Node's.
// usage: node kv-child.mjs NODE COORDINATOR [ENDING]      prints one line of JSON
// ENDING "waits" blocks the main thread for ever, as a collective does whose other nodes are gone; "fails" leaves with work undone.
import koffi from 'koffi';
import { startKeyValue } from '../../dist/engine/xla/pjrt/hosts/callbacks.js';

const [node, coordinator, ending] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const store = startKeyValue({ node, nodes: 2, coordinator, secret: 'a secret of the test' });
const type = koffi.proto('uintptr_t KeyValue(void *)');
const free = koffi.proto('void ValueDeleter(uintptr_t)');
const errors = [];
const makeError = koffi.register(
  (code, text, size) => {
    errors.push([code, Buffer.from(koffi.view(text, Number(size))).toString()]);
    return 4242n;
  },
  koffi.pointer(koffi.proto('uintptr_t MakeError(int, void *, size_t)')),
);
const errorPointer = BigUint64Array.of(makeError);

/** Calls a callback on a worker thread of koffi's, as a thread of the plugin would. */
function call(address, fields) {
  const args = new BigUint64Array(10);
  args[0] = 80n;
  args.set(fields, 2);
  return new Promise((resolve, reject) => {
    koffi
      .decode(address, type)
      .async(args, (error, result) => (error ? reject(error) : resolve({ args, result: BigInt(result) })));
  });
}

const at = (bytes) => koffi.address(bytes);
async function put(key, value) {
  const [k, v] = [Buffer.from(key), Buffer.from(value)];
  const { result } = await call(store.put, [at(k), BigInt(k.length), at(v), BigInt(v.length), at(errorPointer), 0n]);
  return k.length + v.length > 0 && result === 0n;
}
async function get(key, timeoutMs) {
  const k = Buffer.from(key);
  const fields = [at(k), BigInt(k.length), BigInt(timeoutMs), at(errorPointer), 0n, 0n, 0n, 0n];
  return taken(await call(store.get, fields), 7, k);
}
async function tryGet(key) {
  const k = Buffer.from(key);
  return taken(await call(store.tryGet, [at(k), BigInt(k.length), at(errorPointer), 0n, 0n, 0n, 0n]), 6, k);
}
/** The value, copied and given back as a plugin does. */
function taken({ args, result }, index, key) {
  if (result !== 0n || key.length === 0) return `error ${result}`;
  const [address, size, deleter] = args.subarray(index, index + 3);
  const bytes = [...new Uint8Array(koffi.view(address, Number(size)).slice(0))];
  koffi.call(deleter, free, address);
  return bytes;
}

const found = {};
const other = 1 - node;
found.missing = await tryGet(`nobody ${node}`);
// Gets of keys that the other process has yet to put wait, while puts of the same process go on.
const waiting = [0, 1, 2].map((i) => get(`key ${other} ${i}`, 300_000));
await new Promise((done) => setTimeout(done, node === 0 ? 0 : 300));
found.puts = await Promise.all([0, 1, 2].map((i) => put(`key ${node} ${i}`, [node, 0, 255, i])));
found.values = await Promise.all(waiting);
found.tried = await tryGet(`key ${other} 1`);
found.late = await get('never put', 50);
found.errors = errors;
// Node 0, which serves, leaves last: what node 1 asks for is answered by then.
if (node === 0) await put('done 0', [1]);
found.last = await get(`done ${other}`, 300_000);
if (node === 1) await put('done 1', [1]);
await new Promise((done) => process.stdout.write(`${JSON.stringify(found)}\n`, done));
if (ending === 'waits') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
await store.stop(ending === 'fails' ? 'failed' : 'bye');
process.exit(ending === 'fails' ? 1 : 0);
