/** What asks a command to stop, and what each command does then. */
import { EXIT } from './errors.js';

/** The signals that ask a command to stop: whether each is a scheduler's, who starts the same command again. */
export const PREEMPTING = { SIGINT: false, SIGHUP: false, SIGTERM: true, SIGUSR1: true } as const;

/** A signal that asks a command to stop. */
export type StopSignal = keyof typeof PREEMPTING;

/** Every signal that asks a command to stop. */
export const STOP_SIGNALS = Object.keys(PREEMPTING).filter((name): name is StopSignal => name in PREEMPTING);

/** What commands do when they are asked to stop, as the end of a sentence about the signals. */
export const ON_STOP = {
  resumes: 'save the state first; the same command goes on from there',
  resumesByOption: 'save the state first; the same command with --resume goes on from there',
  'keeps what is measured':
    'end the command after the measurement at hand; what was measured is kept, and the same command does the rest',
  'begins anew': 'end the command after the piece of work at hand; the same command begins anew',
  ends: 'end the command at once; what it was about to write is not there',
  serves: 'end the command',
} as const;

/** A way in which a command stops. */
export type OnStop = keyof typeof ON_STOP;

/** The lines of a command's help about signals. */
export function stopHelp(onStop: OnStop): string {
  const codes = onStop === 'serves' ? '' : ` Exit code ${EXIT.interrupted}, after SIGTERM and SIGUSR1 ${EXIT.again}.`;
  const text = `Ctrl-C, SIGTERM and SIGUSR1 ${ON_STOP[onStop]}.${codes}`;
  return `\n${text.replaceAll(/(.{1,98})(?: |$)/g, '$1\n').trimEnd()}`;
}
