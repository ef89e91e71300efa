/** Why a page or a video plays straight from the origin. The panel has the plain words. */
export type Why =
  | "insecure" // not a secure context: no service worker, no WebCrypto
  | "no-worker"
  | "no-webrtc"
  | "opted-out" // by the visitor
  | "privacy-signal" // Global Privacy Control, and links would show the visitor's address
  | "page-off" // data-p2p="off" on <html>
  | "element-off" // data-p2p="off" on the video
  | "other-origin" // an opaque origin, a loader or a video from elsewhere
  | "outside-scope"
  | "foreign-worker" // the site's own, which does not import ours
  | "worker-failed"
  | "worker-slow" // not in control within startupWaitMs
  | "reload-bypass" // shift-reload: the visitor asked for no worker
  | "no-manifest" // not hashed yet, or not to be shared
  | "bypassed" // failed through us, reloaded without
  | "error"; // a fault of ours
