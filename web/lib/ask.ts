/** Asking the source for one thing, and again when it has changed. */
import { useEffect, useState } from 'preact/hooks';

/** What has come of a question. */
export interface Asked<T> {
  readonly value: T | null;
  readonly problem: string | null;
}

/** Asks whenever `key` changes; what came before stays until the next answer, if `key` names the same thing. */
export function useAsked<T>(thing: string, version: number, ask: () => Promise<T>): Asked<T> {
  const [state, setState] = useState<Asked<T> & { readonly thing: string }>({ thing: '', value: null, problem: null });
  useEffect(() => {
    const current = { asked: true };
    ask().then(
      (value) => current.asked && setState({ thing, value, problem: null }),
      (error: unknown) =>
        current.asked &&
        setState({ thing, value: null, problem: error instanceof Error ? error.message : String(error) }),
    );
    return () => {
      current.asked = false;
    };
  }, [thing, version]);
  return state.thing === thing ? state : { value: null, problem: null };
}
