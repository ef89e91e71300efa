import { afterEach, expect, test } from "vitest";
import { first, Site, until, whole, wrtc } from "./site";

let site: Site;
afterEach(() => site.stop());

interface Info {
  busy: number;
  upload: boolean;
  network: string;
  links: [string, number | null, number | null][];
}

/** A fetch, and the `info` of every announcement that goes through it. */
function overheard(): { fetch: typeof fetch; infos: Info[] } {
  const infos: Info[] = [];
  return {
    infos,
    fetch: (input, init) => {
      if (typeof init?.body === "string") {
        const { messages } = JSON.parse(init.body) as {
          messages: { type: string; payload: { info: Info } }[];
        };
        for (const { type, payload } of messages) if (type === "ANNOUNCE") infos.push(payload.info);
      }
      return fetch(input, init);
    },
  };
}

test(
  "the coordinator is told how busy we are and how well others serve us",
  { timeout: 30_000 },
  async () => {
    site = await new Site({ size: 4_000_000 }).start();
    const busy = overheard();
    const a = site.visitor({ fetch: busy.fetch }, { uploadLimit: 1_000_000 });
    await whole(a, site.url);
    await until(() => first(a).held === first(a).segments);
    expect(busy.infos.every((info) => info.busy === 0)).toBe(true);
    site.throttle = 1; // the origin is of no use: all must come from the first
    const served = overheard();
    const b = site.visitor({ fetch: served.fetch });
    whole(b, site.url).catch(() => undefined); // it is closed on the way
    await until(() => busy.infos.some((info) => info.busy > 0.2));
    await until(() => served.infos.some((info) => info.links.some(([, , rate]) => rate !== null)));
    const link = served.infos.flatMap((info) => info.links).find(([, , rate]) => rate !== null);
    expect(link?.[0]).toBe(a.stats().id);
    expect(link?.[2]).toBeGreaterThan(50);
    expect(link?.[2]).toBeLessThan(20_000);
  },
);

test.each([
  ["wifi", { type: "wifi", effectiveType: "4g" }],
  ["cellular", { type: "cellular" }],
  ["slow", { type: "wifi", effectiveType: "3g" }],
  ["slow", { effectiveType: "slow-2g", saveData: true }],
  ["unknown", { effectiveType: "4g" }],
  ["unknown", undefined],
])("the coordinator is told that our network is %s", async (network, connection) => {
  site = await new Site().start();
  const { fetch, infos } = overheard();
  const a = site.visitor({ fetch, connection: () => connection });
  await whole(a, site.url);
  await until(() => infos.length > 0);
  expect(infos.map((info) => info.network)).toEqual(infos.map(() => network));
});

test("the coordinator hears that the visitor has left the house", async () => {
  site = await new Site().start();
  const { fetch, infos } = overheard();
  let type = "wifi";
  const a = site.visitor({ fetch, connection: () => ({ type }) });
  await whole(a, site.url);
  await until(() => infos.length > 0);
  expect(infos.at(-1)).toMatchObject({ network: "wifi", upload: true });
  type = "cellular";
  await until(() => infos.at(-1)?.network === "cellular");
  expect(infos.at(-1)).toMatchObject({ upload: false });
});

test("links use the TURN credentials of the last manifest", { timeout: 30_000 }, async () => {
  site = await new Site().start();
  const seen: RTCConfiguration[] = [];
  const ice = [{ urls: "turn:127.0.0.1:9", username: "1:a", credential: "fresh" }];
  class Watched extends wrtc.RTCPeerConnection {
    constructor(config: RTCConfiguration) {
      super({ ...config, iceServers: [] });
      seen.push(structuredClone(config));
    }
  }
  const deps = {
    RTCPeerConnection: Watched as unknown as typeof RTCPeerConnection,
    fetch: async (input: RequestInfo | URL, init?: RequestInit) => {
      const answer = await fetch(input, init);
      if (!(input as string).includes("/manifest?")) return answer;
      return Response.json({ ...((await answer.json()) as object), ice });
    },
  };
  const settings = { ice: [{ urls: "stun:127.0.0.1:9" }] };
  await whole(site.visitor(deps, settings), site.url);
  await whole(site.visitor(deps, settings), site.url);
  await until(() => seen.length > 0);
  expect(seen.map((config) => config.iceServers)).toEqual(seen.map(() => ice));
});

test("all links of a page use one certificate", { timeout: 30_000 }, async () => {
  site = await new Site().start();
  const made: string[] = [];
  const used: unknown[] = [];
  class Watched extends wrtc.RTCPeerConnection {
    static override generateCertificate(algorithm: AlgorithmIdentifier): Promise<never> {
      const { name, namedCurve } = algorithm as EcKeyGenParams;
      made.push(`${name} ${namedCurve} ${String(made.length)}`);
      return Promise.resolve(made.at(-1) as never);
    }
    constructor({ certificates, ...config }: RTCConfiguration = {}) {
      super(config);
      used.push(certificates);
    }
  }
  const b = site.visitor();
  const c = site.visitor();
  await Promise.all([whole(b, site.url), whole(c, site.url)]);
  const a = site.visitor({ RTCPeerConnection: Watched });
  await whole(a, site.url);
  await until(() => used.length >= 2);
  expect(used).toEqual(used.map(() => ["ECDSA P-256 0"]));
});

test("reports go to the coordinator with what is sent anyway, and not before it is there", async () => {
  site = await new Site().start();
  site.coordinatorDown = true;
  const a = site.visitor();
  expect(a.report?.({ view: "view-1234", seq: 1 })).toBe(false);
  site.coordinatorDown = false;
  await until(() => a.stats().transport === "mailbox");
  expect(a.report?.({ view: "view-1234", seq: 2 })).toBe(true);
  await until(() => site.coordinator.reports.length === 1);
  expect(site.coordinator.reports).toEqual([{ view: "view-1234", seq: 2 }]);
});
