/**
 * Members whose names the build shortens: names that no browser, no message, no other script of
 * ours and no page ever sees. (What crosses between the built files keeps its name.)
 */
const NAMES = `
  answer answered asked askedAt available backlog backlogThen blame break budgetAt busyFor
  busyUntil byCause bypass bytesPerS capKiB checking claimedAt claims congestedAt dataAt demands
  describe detachAll distance distrust drained evict evicted expecting failures filledAt firstMs
  flights forgive forgiven gained gather heardAt heardOf heartbeat hold hopeful horizons hungry
  landed last latency liars listeners loneCause lostAt makeRoom making markAt markBytes mayUpload
  measured note offered opened openedAt orders originHorizon originOnly outlets peerHorizon
  pingedAt playbacks playing playingAt poked postIn posted posting progressAt prune queued reads
  remotes renewAt retryAt sampledAt segmentAt segmentBytes sentSince sequential served shares
  shelves shunned shuns silenceMs silent socketWorks stale stalled startRun starving starvingSince
  strikes suspect suspects telling tokens transmit trustedTo unhave uploadCap uploadedBytes
  uploads usable useSocket watch`;

export const MANGLED = new RegExp(`^(?:${NAMES.trim().split(/\s+/).join("|")})$`);
