import type { Client } from "./scope";
import {
  ALIVE,
  CANCEL,
  END,
  PING,
  PULL,
  type Ask,
  type FromPage,
  type FromWorker,
} from "./protocol";

export interface Patience {
  /** Longest silence before the page's first word. */
  readonly firstMs: number;
  /** Longest wait for the head, and for an ALIVE after a PING. */
  readonly silenceMs: number;
}

/**
 * Ask a page for a media request's answer.
 *
 * Resolves with null where the page says that it is not its business or says nothing; never
 * rejects. The body of the response is pulled: the page reads no further than the player does.
 *
 * @param heard - Told whether the page spoke at all, also when it does so too late.
 */
export function ask(
  client: Client,
  url: string,
  range: string | null,
  patience: Patience,
  heard: (spoke: boolean) => void,
): Promise<Response | null> {
  return new Promise((resolve) => {
    const { port1: port, port2 } = new MessageChannel();
    let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
    let pulled: (() => void) | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let spoke = false;
    let pinged = false;
    let gone = false;

    const say = (word: FromWorker): void => {
      port.postMessage(word);
    };
    const wait = (ms: number): void => {
      clearTimeout(timer);
      timer = setTimeout(silent, ms);
    };
    const stop = (): void => {
      clearTimeout(timer);
      pulled?.();
      port.close();
    };
    const fail = (): void => {
      stream?.error(new Error("the page fell silent"));
      resolve(null);
      stop();
    };
    const silent = (): void => {
      if (!stream) {
        // The port stays open: a page that was only busy is heard after all.
        gone = true;
        resolve(null);
        heard(spoke);
        say(CANCEL);
      } else if (pinged) {
        fail();
      } else {
        pinged = true;
        say(PING);
        wait(patience.silenceMs);
      }
    };

    port.onmessage = ({ data }: MessageEvent<FromPage>): void => {
      if (!spoke) heard((spoke = true));
      if (gone) stop();
      else if (typeof data === "number") {
        if (data === ALIVE) {
          pinged = false;
          wait(patience.silenceMs);
          return;
        }
        if (data === END) {
          stream?.close();
          stop();
        } else {
          fail(); // NOT_MINE before a head, FAILED after it
        }
      } else if (data instanceof Uint8Array) {
        clearTimeout(timer);
        pinged = false;
        stream?.enqueue(data);
        pulled?.();
      } else {
        clearTimeout(timer);
        const body = data.body
          ? new ReadableStream<Uint8Array>({
              start: (controller) => {
                stream = controller;
              },
              pull: () => {
                say(PULL);
                wait(patience.silenceMs);
                return new Promise((done) => {
                  pulled = done;
                });
              },
              cancel: () => {
                say(CANCEL);
                stop();
              },
            })
          : null;
        resolve(new Response(body, data));
        if (!body) stop();
      }
    };
    const question: Ask = { p2pcdn: "ask", url, range };
    client.postMessage(question, [port2]);
    wait(patience.firstMs);
  });
}
