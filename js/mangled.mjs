/**
 * Members whose names the build shortens: names that no browser, no message, no other script of
 * ours and no page ever sees. (What crosses between the built files keeps its name.)
 */
const NAMES = `
  answer answered asked askedAt attempt available awaited backlog backlogThen batch began blame
  break budget budgetAt bulk busyFor busyUntil byCause byKey bypass bytesPerS capKiB cause check
  checking claimedAt claims congestedAt connect connecting counts dataAt deafUntil demands deps
  describe detach detachAll disk distance distrust doubted drop dueAt early enter evict evicted
  exchange expecting failed failure failures filledAt firstMs fits flight flights flush forget
  forgive forgiven free fresh full gained gaps gather gaveAt hear heard heardAt heardOf
  hearsay heartbeat hides hint hinted hold hopeful horizons hungry idle inTime joined landed last
  latency liars list listener listeners loneCause lostAt made makeRoom making markAt markBytes
  maxAge mayUpload measure measured most named namer need noStore note number offer offered offset
  opened openedAt orders originHorizon originOnly outlets over parts peerHorizon pingedAt pings
  playbacks playingAt playlists poke pokeAll poked post posted postIn posting progressAt
  prune pump queued quiet rate reads ready refuses remote remotes renewAt resume retryAt room runs
  sampledAt segment segmentAt segmentBytes sentSince sequential serve served shares shelves shunned
  shuns silenceMs silent since sink socketWorks span spend stale stalled startRun starving
  starvingSince strikes suspect suspects tell telling tick tier timer times tokens transmit
  trustedTo unhave uploadCap uploadedBytes uploads usable used useSocket wake watch`;

export const MANGLED = new RegExp(`^(?:${NAMES.trim().split(/\s+/).join("|")})$`);
