//! Whether the other side is still there: nothing else tells when a machine has lost its power.

use std::future::pending;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Asks every so often, and ends when there was no answer in time. The connection has to be polled meanwhile.
pub async fn silent(ping: Option<PingPong>, every: Duration, patience: Duration) {
    let Some(mut ping) = ping else { return pending().await };
    loop {
        sleep(every).await;
        match timeout(patience, ping.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
