/**
 * Error types. A message says what is wrong, where, and what to do; `details` repeats the facts for programs.
 * `exitCode` is what the command line returns: 2 for the user's input, 1 for everything else. Whatever a message
 * quotes, it is one line without control characters (`messages.ts`).
 */
import { oneLine } from './messages.js';

/** What an error carries beside its message. */
export interface ErrorOptions {
  /** The facts of the message, for programs. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/**
 * The base of every error that Longsight throws on purpose. `code` names the kind, `exitCode` is the status that the
 * command line exits with.
 */
export class LongsightError extends Error {
  /** The kind of error as a constant for programs, such as `CONFIG`. */
  readonly code: string = 'LONGSIGHT';
  /** The exit status of the command line: 2 for wrong input, 130 for an interruption, 1 for everything else. */
  readonly exitCode: number = 1;
  /** The facts of the message, for programs. */
  readonly details: Readonly<Record<string, unknown>>;
  constructor(message: string, options: ErrorOptions = {}) {
    super(oneLine(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.details = options.details ?? {};
  }
}

/** Shapes that do not fit an op; names the op and the shapes. */
export class ShapeError extends LongsightError {
  override readonly code = 'SHAPE';
}

/** Dtypes that do not fit an op; names the op and the dtypes. */
export class DTypeError extends LongsightError {
  override readonly code = 'DTYPE';
}

/** The user's configuration, command line or study file is wrong. */
export class ConfigError extends LongsightError {
  override readonly code = 'CONFIG';
  override readonly exitCode = 2;
}

/** The user's data or a file given as input is wrong. */
export class DataError extends LongsightError {
  override readonly code = 'DATA';
  override readonly exitCode = 2;
}

/** A run folder, checkpoint or other stored artifact is missing, damaged, or does not fit. */
export class StoreError extends LongsightError {
  override readonly code: string = 'STORE';
  override readonly exitCode = 2;
}

/** A folder is in use by another process: the same call may do later. */
export class LockHeldError extends StoreError {
  override readonly code = 'LOCK_HELD';
}

/** The lock of a folder that this process worked in was taken by another: nothing more may be written there. */
export class LockLostError extends LongsightError {
  override readonly code = 'LOCK_LOST';
}

/** An engine cannot do this op with these dtypes; distinct from an engine that failed. */
export class UnsupportedOpError extends LongsightError {
  override readonly code = 'UNSUPPORTED_OP';
}

/** An engine failed; carries its own message. */
export class EngineError extends LongsightError {
  override readonly code: string = 'ENGINE';
}

/** A device cannot be used now because others use it: its memory is taken, or it is given to one process alone. */
export class DeviceBusyError extends EngineError {
  override readonly code = 'DEVICE_BUSY';
}

/** Training stopped because a loss or gradient was not a finite number. */
export class DivergedError extends LongsightError {
  override readonly code = 'DIVERGED';
}

/** The work was stopped (Ctrl-C, SIGTERM, SIGUSR1). */
export class InterruptedError extends LongsightError {
  override readonly code: string = 'INTERRUPTED';
  override readonly exitCode: number = 130;
}

/** The work was stopped because another process that shares it was asked to: the same command on all goes on. */
export class StoppedTogetherError extends InterruptedError {
  override readonly code = 'STOPPED_TOGETHER';
  override readonly exitCode = 75;
}

/**
 * Throws an internal error if `condition` does not hold. For bugs of Longsight only; users' mistakes get one of the
 * classes above.
 */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new LongsightError(`internal error: ${message}; please report this`);
}

/** The code that an error of the system has, such as `ENOENT`; undefined for other errors. */
export function errorCode(thrown: unknown): string | undefined {
  const code = typeof thrown === 'object' && thrown !== null && 'code' in thrown ? thrown.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** What something thrown says of itself: an error's message, or else its text. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
