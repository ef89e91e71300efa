import type { PlayTimes } from "./report";

/**
 * Measure one player: time from wanting to play to the first frame, interruptions, time watched.
 *
 * `now` in milliseconds. Listens for as long as the element lives.
 */
export function measure(
  player: HTMLMediaElement,
  now: () => number = () => performance.now(),
): () => PlayTimes & { readonly stalls: number } {
  let wanted = player.paused ? 0 : now();
  let startup: number | null = null;
  let stalled = 0;
  let stalls = 0;
  let stallMs = 0;
  let watched = 0;
  let clock = 0;
  const running = (): void => {
    if (stalled) stallMs += now() - stalled;
    stalled = 0;
  };
  const handlers: Record<string, () => void> = {
    play: () => (wanted ||= now()),
    // A wait after a seek is not an interruption, and before the first frame it is the start.
    waiting: () => {
      if (startup !== null && !stalled && !player.seeking) {
        stalled = now();
        stalls++;
      }
    },
    playing: () => {
      running();
      startup ??= wanted ? now() - wanted : null;
      clock = now();
    },
    timeupdate: () => {
      if (!player.paused && !stalled && clock) {
        watched += now() - clock;
        clock = now();
      }
    },
    pause: () => {
      running();
      clock = 0;
    },
    seeking: running,
  };
  for (const [name, handler] of Object.entries(handlers)) player.addEventListener(name, handler);
  return () => ({
    startupMs: startup && Math.round(startup),
    stalls,
    stallMs: Math.round(stallMs + (stalled && now() - stalled)),
    watchedS: Math.round(watched / 1000),
  });
}
