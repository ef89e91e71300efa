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

/**
 * Ask a page for a media request's answer.
 *
 * Resolves with null where the page says that it is not its business or says nothing; never
 * rejects. The body of the response is pulled: the page reads no further than the player does.
 *
 * @param firstMs - Longest silence before the page's first word.
 * @param silenceMs - Longest wait for the head, and for an ALIVE after a PING.
 * @param heard - Told whether the page spoke at all, also when it does so too late.
 */
export function ask(
  client: Client,
  url: string,
  range: string | null,
  firstMs: number,
  silenceMs: number,
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
      stream?.error();
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
        wait(silenceMs);
      }
    };

    port.onmessage = ({ data }: MessageEvent<FromPage>): void => {
      if (!spoke) heard((spoke = true));
      clearTimeout(timer);
      pinged = false;
      if (gone) stop();
      else if (data === ALIVE) wait(silenceMs);
      else if (data === END) {
        stream?.close();
        stop();
      } else if (typeof data === "number") {
        fail(); // NOT_MINE before a head, FAILED after it
      } else if (data instanceof Uint8Array) {
        stream?.enqueue(data);
        pulled?.();
      } else {
        const body = data.body
          ? new ReadableStream<Uint8Array>({
              start: (controller) => {
                stream = controller;
              },
              pull: () => {
                say(PULL);
                wait(silenceMs);
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
    client.postMessage({ p2pcdn: "ask", url, range } satisfies Ask, [port2]);
    wait(firstMs);
  });
}
