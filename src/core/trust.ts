/**
 * Whether anybody but the user and root could have written a file that is about to be run, loaded or believed, and
 * where a program lies that is about to be started.
 */
import { existsSync, lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { userInfo } from 'node:os';
import { delimiter, isAbsolute, join, parse, resolve, sep } from 'node:path';

/** The users and groups of a machine, as far as `writableByOthers` needs them. */
export interface Users {
  /** The user's number; null on systems without user numbers, where nothing is checked. */
  readonly uid: number | null;
  /** Whether files of this user number count as the user's own or root's. */
  isTrusted(uid: number): boolean;
  /** Whether nobody but the user and root is in the group. */
  isPrivate(gid: number): boolean;
}

const ROOT = 0;
const OTHERS_WRITE = 0o002;
const GROUP_WRITES = 0o020;
const STICKY = 0o1000;
/** The most links that are followed in a path, as in Linux. */
const MAX_LINKS = 40;

/**
 * The user that this process runs as, with the groups of `/etc/group` and `/etc/passwd`; a group that is in neither is
 * not private.
 */
export function thisUser(): Users {
  const uid = process.getuid?.() ?? null;
  const outside = ownerOutside();
  return {
    uid,
    isTrusted: (owner) => owner === uid || owner === ROOT || owner === outside,
    isPrivate: (gid) => isPrivateGroup(gid, uid, lines('/etc/group'), lines('/etc/passwd')),
  };
}

/**
 * Whether a group has no member but the user and root.
 *
 * @param groups the fields of each line of `/etc/group`: name, password, number, members
 * @param users the fields of each line of `/etc/passwd`: name, password, user number, group number
 */
export function isPrivateGroup(
  gid: number,
  uid: number | null,
  groups: readonly (readonly string[])[],
  users: readonly (readonly string[])[],
): boolean {
  const group = groups.find((fields) => fields[2] === String(gid));
  if (group === undefined) return false;
  const own = users.filter((fields) => [String(uid), String(ROOT)].includes(fields[2] ?? '')).map(([name]) => name);
  const members = (group[3] ?? '').split(',').filter((name) => name !== '');
  const primary = users.filter((fields) => fields[3] === String(gid)).map(([name]) => name);
  return [...members, ...primary].every((name) => own.includes(name));
}

function lines(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.split(':'));
  } catch {
    return [];
  }
}

/**
 * In a user namespace without a number for root, files of everyone outside it, root's too, show this number. Null
 * outside of such namespaces.
 */
function ownerOutside(): number | null {
  try {
    const ranges = readFileSync('/proc/self/uid_map', 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number));
    const whole = ranges.some(([inside, outside]) => inside === ROOT && outside === ROOT);
    return whole ? null : Number(readFileSync('/proc/sys/kernel/overflowuid', 'utf8'));
  } catch {
    return null;
  }
}

/**
 * Why others than the user and root could have written the file or folder `path`, and what to do, as the end of a
 * sentence; null if they could not. The file, every folder above it and every link on the way must belong to the user
 * or to root, and neither others nor a group with other members may write it; folders that all may write but where each
 * may replace only what is his (mode 1777, like /tmp) are fine.
 *
 * @throws the file system's error where the path is not there
 */
export function writableByOthers(path: string, users: Users = thisUser()): string | null {
  if (users.uid === null) return null;
  let links = 0;
  let at = parse(resolve(path)).root;
  let rest = resolve(path).slice(at.length).split(sep);
  let wrong = faultOf(at, users);
  while (wrong === null && rest.length > 0) {
    const [name = '', ...more] = rest;
    rest = more;
    if (name === '') continue;
    const next = join(at, name);
    wrong = faultOf(next, users);
    if (!lstatSync(next).isSymbolicLink()) {
      at = next;
      continue;
    }
    if (++links > MAX_LINKS) return `${path} is a link without end; remove it`;
    const target = resolve(at, readlinkSync(next));
    at = parse(target).root;
    rest = [...target.slice(at.length).split(sep), ...rest];
  }
  return wrong;
}

/** What is wrong with one file, folder or link. */
function faultOf(path: string, users: Users): string | null {
  const found = lstatSync(path);
  const { uid, gid, mode } = found;
  if (!users.isTrusted(uid)) {
    return `${path} belongs to another user (number ${uid}); make it your own with chown, or use one of your own`;
  }
  if (found.isSymbolicLink() || (found.isDirectory() && (mode & STICKY) !== 0)) return null;
  const change = (rights: string) => `if you trust what is there, run "chmod ${rights} ${path}"`;
  if ((mode & OTHERS_WRITE) !== 0) return `every user may write ${path}; ${change('go-w')}`;
  if ((mode & GROUP_WRITES) !== 0 && !users.isPrivate(gid)) {
    return `a group with other members (number ${gid}) may write ${path}; ${change('g-w')}`;
  }
  return null;
}

/**
 * The path of a program of that name, from the absolute folders of `PATH`: relative and empty ones stand for the
 * current folder, from which nothing is run. Null if there is none.
 */
export function findProgram(name: string, env: Readonly<Record<string, string | undefined>>): string | null {
  return programsNamed(name, env)[0] ?? null;
}

/** Every program of that name in the absolute folders of `PATH`, in their order. */
export function programsNamed(name: string, env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  return folders.map((folder) => join(folder, name)).filter((path) => existsSync(path));
}

/**
 * The user's home folder as an absolute path: `HOME`, else what the system says. Never the current folder, as an empty
 * `HOME` would make it.
 */
export function homeFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const home = env['HOME'];
  return home !== undefined && isAbsolute(home) ? home : userInfo().homedir;
}
