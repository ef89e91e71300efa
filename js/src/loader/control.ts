import type { Note } from "../worker/protocol";
import type { Why } from "./why";

/** How long a worker may take to say that it is one of ours. */
const PONG_MS = 300;
/** How long an active worker may take to claim a page that it does not control yet. */
const CLAIM_MS = 150;

/**
 * Getting the worker to control this page, without ever taking a scope from the site's own.
 *
 * `ready` settles once, with whether requests of this page reach a worker of ours; `why` and
 * `usable` stay up to date afterwards.
 */
export class Control {
  why: Why | null = "worker-slow";
  readonly ready: Promise<boolean>;
  readonly #workers: ServiceWorkerContainer;
  readonly #script: URL;
  readonly #scope: URL;
  readonly #hello: () => Note;
  #settle!: (usable: boolean) => void;

  constructor(
    workers: ServiceWorkerContainer,
    script: URL,
    scope: URL,
    waitMs: number,
    hello: () => Note,
  ) {
    this.#workers = workers;
    this.#script = script;
    this.#scope = scope;
    this.#hello = hello;
    this.ready = new Promise((resolve) => {
      this.#settle = resolve;
    });
    workers.addEventListener("controllerchange", () => {
      void this.#check();
    });
    setTimeout(this.#settle, waitMs, false);
    this.#establish().catch(() => {
      this.#set("worker-failed");
    });
  }

  get usable(): boolean {
    return this.why === null;
  }

  /** Tell the worker in control. */
  note(note: Note): void {
    this.#workers.controller?.postMessage(note);
  }

  #set(why: Why | null): void {
    this.why = why;
    if (why === null) this.note(this.#hello());
    this.#settle(why === null);
  }

  #own(worker: ServiceWorker): boolean {
    const url = new URL(worker.scriptURL);
    return url.origin === this.#script.origin && url.pathname === this.#script.pathname;
  }

  async #check(): Promise<void> {
    const { controller } = this.#workers;
    if (!controller) return;
    this.#set(this.#own(controller) || (await pong(controller)) ? null : "foreign-worker");
  }

  async #establish(): Promise<void> {
    if (this.#workers.controller) return this.#check();
    // Both at once: either takes the browser as long as all else that a start needs. A worker of
    // ours that finds the site's own in its scope gives up.
    const before = this.#workers.getRegistration();
    const made = this.#workers.register(this.#script, {
      scope: this.#scope.href,
      updateViaCache: "none",
    });
    made.catch(() => 0);
    const found = await before;
    const { installing, waiting, active } = found ?? {};
    const foreign = [installing, waiting, active].some((worker) => worker && !this.#own(worker));
    if (foreign || (found && found.scope !== this.#scope.href)) {
      this.#set("foreign-worker");
      return;
    }
    if (active) {
      // A page loaded by shift-reload is never controlled; one that raced another tab soon is.
      setTimeout(() => {
        if (!this.usable) this.#set("reload-bypass");
      }, CLAIM_MS);
      return;
    }
    const registration = await made;
    const worker = registration.installing ?? registration.waiting;
    worker?.addEventListener("statechange", () => {
      if (worker.state === "redundant" && !this.usable) this.#set("worker-failed");
    });
  }
}

function pong(worker: ServiceWorker): Promise<boolean> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(true);
    };
    setTimeout(resolve, PONG_MS, false);
    const note: Note = { p2pcdn: "ping" };
    worker.postMessage(note, [port2]);
  });
}
