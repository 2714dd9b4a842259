// Loaded before a program (`node --import shim.mjs`): counts what it does to the files below a folder, and at chosen calls kills it,
// lets the call fail, or writes down what was done. The environment variable LONGSIGHT_SHIM says so as JSON:
//   root     the folder; calls on other paths are left alone
//   counter  a file that grows by one byte a call, whichever process of a study makes it
//   kill     numbers of calls at which the process that makes them kills itself: a write is half done then, other calls not at all
//   fail     { from, to, code }: calls with these numbers that need room on the disk (or, EROFS and EACCES, any) fail with that code
//   record   a folder that gets a file for each process with every call, for a model of the disk after a power cut
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { threadId } from 'node:worker_threads';

const { root, counter, kill = [], fail = null, record = null } = JSON.parse(process.env.LONGSIGHT_SHIM);
const real = { ...fs };
const counterFd = real.openSync(counter, 'a');
const recordFd = record === null ? null : real.openSync(`${record}/${process.pid}-${threadId}.jsonl`, 'a');
/** Paths of open files and folders. */
const paths = new Map();
let seen = real.fstatSync(counterFd).size;

const below = (path) => typeof path === 'string' && `${resolve(path)}${sep}`.startsWith(`${root}${sep}`);
const NEEDS_ROOM = new Set(['open', 'write', 'append', 'mkdir', 'link', 'copy', 'create']);

/** Counts a call; kills the process (after `half`), or throws, if it is the one's turn. */
function turn(kind, path, half) {
  real.writeSync(counterFd, 'x');
  const [before, now] = [seen, real.fstatSync(counterFd).size];
  seen = now;
  if (kill.some((n) => before < n && n <= now)) {
    half?.();
    process.kill(process.pid, 'SIGKILL');
    for (;;); // the signal is on its way
  }
  if (fail === null || now < fail.from || now > fail.to) return;
  if (NEEDS_ROOM.has(kind) || fail.code !== 'ENOSPC')
    throw Object.assign(new Error(`${fail.code}: made to fail, ${kind} '${path}'`), { code: fail.code, path });
}

const note = (entry) => {
  if (recordFd === null) return;
  const at = real.fstatSync(counterFd).size;
  real.writeSync(recordFd, `${JSON.stringify({ at, ...entry })}\n`);
};

const bytesOf = (data, encoding) =>
  typeof data === 'string' ? Buffer.from(data, encoding) : Buffer.from(data.buffer, data.byteOffset, data.byteLength);

fs.openSync = (path, flags = 'r', ...rest) => {
  const writes = flags !== 'r';
  if (!below(path)) return real.openSync(path, flags, ...rest);
  const existed = writes && real.existsSync(path);
  if (writes) turn(existed ? 'reopen' : 'open', path);
  const fd = real.openSync(path, flags, ...rest);
  paths.set(fd, resolve(path));
  if (writes) note({ kind: 'open', path: resolve(path), created: !existed, truncates: String(flags).startsWith('w') });
  return fd;
};
fs.closeSync = (fd) => {
  paths.delete(fd);
  return real.closeSync(fd);
};

function part(data, args) {
  if (typeof data === 'string') return { bytes: bytesOf(data, args[1]), position: args[0] ?? null };
  const [offset = 0, length = data.byteLength - offset, position = null] =
    typeof args[0] === 'object' && args[0] !== null ? [args[0].offset, args[0].length, args[0].position] : args;
  return { bytes: bytesOf(data).subarray(offset, offset + length), position };
}
fs.writeSync = (fd, data, ...args) => {
  if (!paths.has(fd)) return real.writeSync(fd, data, ...args);
  const { bytes, position } = part(data, args);
  // What is written over needs no room.
  const inPlace = position !== null && position + bytes.length <= real.fstatSync(fd).size;
  turn(inPlace ? 'overwrite' : 'write', paths.get(fd), () => real.writeSync(fd, bytes, 0, bytes.length >> 1, position));
  const done = real.writeSync(fd, data, ...args);
  note({ kind: 'write', path: paths.get(fd), position, data: bytes.subarray(0, done).toString('base64') });
  return done;
};
fs.write = (fd, data, ...rest) => {
  const done = rest.pop();
  if (!paths.has(fd)) return real.write(fd, data, ...rest, done);
  try {
    const written = fs.writeSync(fd, data, ...rest);
    setImmediate(() => done(null, written, data));
  } catch (error) {
    setImmediate(() => done(error));
  }
};
fs.write[promisify.custom] = (fd, data, ...args) =>
  new Promise((resolve, reject) =>
    fs.write(fd, data, ...args, (error, bytesWritten) =>
      error ? reject(error) : resolve({ bytesWritten, buffer: data }),
    ),
  );
fs.fsyncSync = (fd) => {
  if (paths.has(fd)) turn('sync', paths.get(fd));
  real.fsyncSync(fd);
  if (paths.has(fd)) note({ kind: 'sync', path: paths.get(fd) });
};
fs.fsync = (fd, done) => {
  try {
    fs.fsyncSync(fd);
    setImmediate(() => done(null));
  } catch (error) {
    setImmediate(() => done(error));
  }
};

/** Replaces calls that are given paths. */
function onPaths(name, kind, pathsOf, entry) {
  fs[name] = (...args) => {
    const touched = pathsOf(args).filter(below);
    if (touched.length > 0) turn(kind, touched[0]);
    const result = real[name](...args);
    if (touched.length > 0) note({ kind, ...entry(args) });
    return result;
  };
}
const first = ([path]) => [path];
const second = ([, path]) => [path];
const both = ([from, to]) => [from, to];
const pair = ([from, to]) => ({ from: resolve(from), to: resolve(to) });
const one = ([path]) => ({ path: resolve(path) });
onPaths('mkdirSync', 'mkdir', first, one);
onPaths('renameSync', 'rename', both, pair);
onPaths('linkSync', 'link', second, pair);
onPaths('copyFileSync', 'copy', second, pair);
onPaths('unlinkSync', 'remove', first, one);
onPaths('rmdirSync', 'remove', first, one);
onPaths('rmSync', 'remove', ([path]) => (real.existsSync(path) ? [path] : []), one);
onPaths('truncateSync', 'truncate', first, ([path, length = 0]) => ({ path: resolve(path), length }));
onPaths('writeFileSync', 'create', first, ([path, data]) => ({
  path: resolve(path),
  data: bytesOf(data).toString('base64'),
}));
onPaths('appendFileSync', 'append', first, ([path, data]) => ({
  path: resolve(path),
  data: bytesOf(data).toString('base64'),
}));
fs.ftruncateSync = (fd, length = 0) => {
  if (paths.has(fd)) turn('truncate', paths.get(fd));
  real.ftruncateSync(fd, length);
  if (paths.has(fd)) note({ kind: 'truncate', path: paths.get(fd), length });
};
syncBuiltinESMExports();
