/**
 * The part of ServiceWorkerGlobalScope that the worker uses.
 *
 * TypeScript's "WebWorker" library cannot stand beside "DOM" in one project; these are the
 * declarations of https://w3c.github.io/ServiceWorker/ that are needed.
 */
export interface Scope {
  readonly location: Location;
  readonly registration: ServiceWorkerRegistration;
  readonly clients: Clients;
  skipWaiting(): Promise<void>;
  fetch(request: Request | string, init?: RequestInit): Promise<Response>;
  addEventListener(type: "install", listener: (event: InstallEvent) => void): void;
  addEventListener(type: "activate", listener: (event: ExtendableEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
  addEventListener(type: "message", listener: (event: ExtendableMessageEvent) => void): void;
}

export interface Clients {
  get(id: string): Promise<Client | undefined>;
  claim(): Promise<void>;
}

export interface Client {
  readonly id: string;
  postMessage(message: unknown, transfer: Transferable[]): void;
}

export interface ExtendableEvent {
  waitUntil(promise: Promise<unknown>): void;
}

export interface InstallEvent extends ExtendableEvent {
  /** Static routing; Chromium 123 and later. */
  addRoutes?(rules: readonly object[]): Promise<void>;
}

export interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  readonly clientId: string;
  respondWith(response: Promise<Response>): void;
}

export interface ExtendableMessageEvent extends ExtendableEvent {
  readonly data: unknown;
  readonly source: Client | null;
  readonly ports: readonly MessagePort[];
}
