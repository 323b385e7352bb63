use std::time::Duration;

use super::*;
use crate::config::Config;

/// Thousands of connections only move bytes: what the task of each needs is a promise of its own.
#[test]
fn a_connection_is_small() {
    let shared = Arc::new(Shared::new(Config::default()));
    let source = SocketAddr::from(([127, 0, 0, 1], 1));
    let seat = shared.seat(0, shared.admit(source).unwrap());
    let socket = socket::listen(SocketAddr::from(([127, 0, 0, 1], 0)), Duration::from_secs(1)).unwrap();
    let size = std::mem::size_of_val(&serve(seat, socket, source));
    assert!(size <= 1024, "{size} bytes");
}
