/** Keeps what the page knows of all runs in step with the server. */
import type { ChangeEvent, DashboardData, HelloEvent } from '../../src/dashboard/api.js';

/** Milliseconds until a question that failed is asked again. */
const AGAIN_MS = 2000;

/** Who is told of what the server says. */
export interface Listener {
  /** The server is there, and says which change was its last. */
  readonly hello: (event: HelloEvent) => void;
  readonly change: (event: ChangeEvent) => void;
  /** The server is gone. */
  readonly gone: () => void;
}

/** What has the data of all runs and tells of their changes. */
export interface Followed {
  state(): Promise<DashboardData>;
  listen(listener: Listener): void;
}

/** What a page is told of a change; what it has drawn of the runs that are named is old. */
export interface Told {
  /** Ids of runs with new points; null for all runs, where changes were missed. */
  readonly points: readonly string[] | null;
  /** Whether evaluations or findings may be new. */
  readonly records: boolean;
}

const NOTHING: Told = { points: [], records: false };
const EVERYTHING: Told = { points: null, records: true };

/**
 * The data of all runs, asked for once and kept up to date by the changes that the server tells. Changes are numbered:
 * where one is missing (told before the page listened, or while the server was gone), everything is asked for again.
 */
export class Follower {
  data: DashboardData | null = null;
  /** Whether the server answers. */
  connected = true;
  /** Why the data could not be had at the last try; null where they could. */
  problem: string | null = null;
  readonly #source: Followed;
  readonly #tell: (told: Told) => void;
  #isLoading = false;
  /** The change up to which the server had told when the page began to listen; null before. */
  #heard: number | null = null;
  /** Changes that came while an answer was on its way. */
  #since: ChangeEvent[] = [];

  /** @param tell is called after each change of the data or of the connection */
  constructor(source: Followed, tell: (told: Told) => void) {
    this.#source = source;
    this.#tell = tell;
  }

  /** Loads everything and begins to listen. */
  start(): void {
    void this.#load();
    this.#source.listen({
      hello: (event) => this.#greet(event),
      change: (event) => this.#apply(event),
      gone: () => {
        this.connected = false;
        this.#tell(NOTHING);
      },
    });
  }

  #greet({ revision }: HelloEvent): void {
    this.connected = true;
    this.#heard = revision;
    const hasMissed = this.data !== null && this.data.revision !== revision;
    if (hasMissed && !this.#isLoading) void this.#load();
    this.#tell(hasMissed ? EVERYTHING : NOTHING);
  }

  #apply(event: ChangeEvent): void {
    const told = { points: event.points, records: event.records.length > 0 };
    if (this.#isLoading || this.data === null) this.#since.push(event);
    else if (!this.#isNext(event)) {
      void this.#load();
      this.#tell(EVERYTHING);
      return;
    } else this.#take(event);
    this.#tell(told);
  }

  #isNext({ revision }: ChangeEvent): boolean {
    return this.data !== null && revision <= this.data.revision + 1;
  }

  /** Puts the rows of a change in; asks for everything where runs came or went. */
  #take(event: ChangeEvent): void {
    const { data } = this;
    if (data === null || event.revision <= data.revision) return;
    const rows = new Map(event.rows.map((row) => [row.id, row]));
    const runs = rows.size === 0 ? data.runs : data.runs.map((row) => rows.get(row.id) ?? row);
    this.data = { ...data, runs, indexed: event.indexed, revision: event.revision };
    if (event.reload) void this.#load();
  }

  /** Asks for everything. At most one such question is on its way: what comes with its answer is taken up then. */
  async #load(): Promise<void> {
    if (this.#isLoading) return;
    this.#isLoading = true;
    let told = NOTHING;
    try {
      this.data = await this.#source.state();
      this.problem = null;
      this.#isLoading = false;
      if (!this.#catchUp()) told = EVERYTHING;
    } catch (error) {
      this.#isLoading = false;
      this.problem = error instanceof Error ? error.message : String(error);
      setTimeout(() => void this.#load(), AGAIN_MS);
    }
    this.#tell(told);
  }

  /** Takes up the changes that came with the answer; false where some between are not there. */
  #catchUp(): boolean {
    const since = this.#since.splice(0);
    const hasGap = this.#heard !== null && this.data !== null && this.data.revision < this.#heard;
    if (hasGap || !since.every((event) => this.#isNext(event))) {
      void this.#load();
      return false;
    }
    for (const event of since) this.#take(event);
    return true;
  }
}
