//! How an API server is replaced without a failed request.
//!
//! The clients are kubectl, client-go and others with kept HTTP/1.1 and HTTP/2 connections. They come through a gateway
//! that passes TLS on unread, stops giving a pod new connections the moment its deletion is asked for, and leaves open
//! connections open. What the old API server does then is upstream's (`k8s.io/apiserver/pkg/server`, 1.35 and 1.36):
//!
//! 1. SIGTERM. `/readyz` fails; everything is served for `--shutdown-delay-duration` ([`DELAY`]). In this time the
//!    gateway has long learnt of the deletion, and handshakes that were under way are done.
//! 2. At the end of the delay three things happen in the same moment: `http.Server.Shutdown` closes the listener, closes
//!    HTTP/1.1 connections that are idle *as the server sees it*, and sends GOAWAY on HTTP/2; requests that arrive after
//!    it on connections that are still open are answered 503 (`WithWaitGroup`); watches are ended.
//! 3. Requests that are being worked on are finished, for at most `--request-timeout` ([`LONGEST_REQUEST`]).
//!
//! Step 2 loses requests: one that is on its way while the server counts its connection as idle meets a closed
//! connection, or a 503, or a GOAWAY that does not cover it. Go's HTTP/2 client repeats such a request by itself; an
//! HTTP/1.1 client must not repeat a write. Nothing upstream offers avoids it:
//!
//! * `--shutdown-send-retry-after` answers 429 with `Connection: close` while the last requests are worked on. Clients
//!   that repeat after 429 lose nothing but five seconds each; all others see a failure on *every* busy connection.
//! * `--goaway-chance` moves HTTP/2 clients only, never all of them, and each GOAWAY has the race of step 2.
//! * No flag makes the server say `Connection: close` on good answers during the delay.
//!
//! So the moment of step 2 has to find no request on its way. A busy client sends its next request only after it has
//! the answer to the last one. A gateway therefore has to hold the *answers* of a terminating pod back from shortly before
//! the end of the delay until the server has closed its side, and then passes answer and end on together: whoever was
//! busy sees its answer and a closed connection, and sends its next request on a new one, to the new pod. It knows the
//! moment from the pod's annotation `skep.dev/closes-after-ms`. With a TCP proxy that did so, of 40,000 requests of 24 busy connections of
//! both protocols, without repetition, none failed in three replacements; without it every busy HTTP/1.1 connection that
//! wrote failed once per replacement.
//!
//! `--shutdown-watch-termination-grace-period` ([`WATCHES`]) ends watches in an orderly way at step 2. Without it they
//! count as work for `http.Server.Shutdown`, and the process stays for the full minute of its timeout.
//!
//! What remains: a client that was idle and begins to send in the very moment of step 2 (well under a millisecond) has
//! the race that every idle HTTP/1.1 connection has with every server.

use std::time::Duration;

/// `--shutdown-delay-duration`: time for every gateway to learn that the pod takes no new connections. A watch event
/// takes milliseconds; the rest is for a gateway that is just connecting again.
pub const DELAY: Duration = Duration::from_secs(5);
/// `--shutdown-watch-termination-grace-period`. Upstream ends at least 200 watches a second.
pub const WATCHES: Duration = Duration::from_secs(10);
/// `--request-timeout`, upstream's default.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(60);
/// For flushing the audit log and ending the process.
const EXIT: Duration = Duration::from_secs(10);

/// `terminationGracePeriodSeconds` of an API server: every step above at its longest. Usually it is gone a second after
/// the delay.
pub const GRACE: Duration = Duration::from_secs(DELAY.as_secs() + LONGEST_REQUEST.as_secs() + EXIT.as_secs());
/// `terminationGracePeriodSeconds` of a controller: its own `--controller-shutdown-timeout` is ten seconds.
pub const CONTROLLER_GRACE: Duration = Duration::from_secs(20);
/// Grace of every pod once the whole control plane is being deleted: there is nobody left to serve.
pub const DELETION_GRACE: Duration = Duration::from_secs(1);
